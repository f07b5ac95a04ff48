"""AdaEnt: entropy minimisation under KL(prior || prediction)."""

from __future__ import annotations

from torch import Tensor

from SFDALib.adaptation.common.losses import prior_given_ratio
from SFDALib.adaptation.common.prior_entropy import PriorEntropy


class AdaEnt(PriorEntropy):
    """Entropy and ``KL(prior || estimate)``; see ``PriorEntropy``."""

    def prior_term(self, estimate: Tensor, prior: Tensor, keep: Tensor | None) -> Tensor:
        """See ``losses.prior_given_ratio``."""
        return prior_given_ratio(estimate, prior, keep)
