"""TENT: entropy minimisation through scale and shift of batch normalisation alone.

The original predicts with each batch's statistics; here the running ones, which the steps renew,
are delivered, so that a slice's result does not depend on its neighbours.
"""

from __future__ import annotations

from torch import Tensor, nn

from SFDALib.adaptation.common.batch_norm import affine_parameters
from SFDALib.adaptation.common.losses import mean_entropy
from SFDALib.adaptation.common.recipe import Recipe
from SFDALib.errors import RequestError
from SFDALib.methods.tent import TentOptions


class Tent(Recipe[TentOptions]):
    """``L = mean_x H(p(x))`` in nats."""

    def parameters(self) -> list[nn.Parameter]:
        """Scale and shift of every batch normalisation.

        Raises:
            RequestError: the batch normalisation has no scale and shift.
        """
        parameters = affine_parameters(self.network)
        if not parameters:
            raise RequestError(
                "method tent: found batch normalisation without scale and shift, expected both;"
                " use bn-statistics"
            )
        return parameters

    def loss(self, indices: list[int]) -> Tensor:
        """The mean entropy of a batch."""
        return mean_entropy(self.setting.probabilities(self.patches.batch(indices)))
