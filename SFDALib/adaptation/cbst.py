"""Class-balanced self-training: the most confident pixels of each class."""

from __future__ import annotations

from SFDALib.adaptation.common.pseudo_labels import PseudoLabelTraining


class ClassBalancedSelfTraining(PseudoLabelTraining):
    """A threshold for each class."""

    by_class = True
