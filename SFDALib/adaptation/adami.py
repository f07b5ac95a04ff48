"""AdaMI: entropy minimisation under KL(prediction || prior)."""

from __future__ import annotations

from torch import Tensor

from SFDALib.adaptation.common.losses import ratio_given_prior
from SFDALib.adaptation.common.prior_entropy import PriorEntropy


class AdaMI(PriorEntropy):
    """Entropy and ``KL(estimate || prior)``; see ``PriorEntropy``."""

    def prior_term(self, estimate: Tensor, prior: Tensor, keep: Tensor | None) -> Tensor:
        """See ``losses.ratio_given_prior``."""
        return ratio_given_prior(estimate, prior, keep)
