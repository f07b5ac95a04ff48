"""Self-training on the most confident pixels, whatever their class."""

from __future__ import annotations

from SFDALib.adaptation.common.pseudo_labels import PseudoLabelTraining


class SelfTraining(PseudoLabelTraining):
    """One threshold for all classes."""

    by_class = False
