"""DG-TTA: consistency of the predictions for two random deformations of the same patch.

1. Draw random windows of the target. 2. Deform each by two affine maps, close to the identity;
where asked for, change the contrast of each copy by random convolutions (GIN), too. 3. Segment both
copies and bring the predictions back by the inverse maps. 4. Raise the overlap of the two, over all
windows of an epoch in one step. 5. Do all of it several times from the source's weights, and
average the logits of the results.

Deviations from the released code (multimodallearning/DG-TTA, c8eac38): windows begin at whole
voxels and 2D networks are served, too; what lies outside of an image repeats its border, where the
original takes its minimum; a class that neither copy shows counts as agreement, where the original
divides 0 by 0; the original's first "epoch" takes no step and is the evaluation of the source here,
so that its 12 are 11; it delivers the last state, here the best one is delivered. Left out: MIND
descriptors instead of the image, with which its authors also train sources; only a network trained
on them can use them, and a bundle does not say so.

On the demo's volumes one member with ``bn=eval`` delivered Dice 0.862 (T2W; bn-statistics 0.856)
and 0.887 (FLAIR; 0.840), with statistics re-estimated slice by slice, not by
``reestimation_batch`` slices.
Consistency under GIN alone with a step for each batch of 8 delivered 0.867 on the T2W volume;
``strength=0 contrast=gin patches=8`` comes near it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from SFDALib.adaptation.common import affine
from SFDALib.adaptation.common.patches import RandomPatches
from SFDALib.adaptation.common.recipe import Recipe, Setting
from SFDALib.errors import RequestError
from SFDALib.gin import random_convolutions
from SFDALib.methods.dg_tta import DgTtaOptions
from SFDALib.networks.outputs import class_logits

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


class DgTta(Recipe[DgTtaOptions]):
    """``L = 1 - mean_{k > 0} Dice(A1^-1 p(A1 x), A2^-1 p(A2 x))`` with fresh A1, A2 for each patch.

    Raises:
        RequestError: nothing that would make the two copies differ.
    """

    accumulate = True
    reestimation_batch = 8  # the original re-estimates no statistics

    def __init__(self, setting: Setting[DgTtaOptions]) -> None:
        super().__init__(setting)
        if not self.options.strength and self.options.contrast == "none":
            raise RequestError(
                "method dg-tta: found strength=0 and contrast=none, with which the two copies of a"
                " patch are equal, expected a strength above 0 or contrast=gin; set one of them"
            )
        arrays = [image.array for image in setting.images]
        self._windows = RandomPatches(self.model, arrays, self.options.patches, setting.rng)

    @classmethod
    def repetitions(cls, options: DgTtaOptions) -> int:
        """The members of the ensemble."""
        return options.ensemble

    def parameters(self) -> list[nn.Parameter]:
        """What the option ``parameters`` names.

        Raises:
            RequestError: this network has no such part.
        """
        which = self.options.parameters
        parts = {
            "all": (self.network,),
            "norms": tuple(part for part in self.network.modules() if isinstance(part, NORMS)),
            "encoder": self.model.encoder(self.network),
        }[which]
        parameters = list(dict.fromkeys(p for part in parts for p in part.parameters()))
        if not parameters:
            kind = self.model.description.network["_target_"].rsplit(".", 1)[-1]
            raise RequestError(
                f"option parameters: found {which} for {kind}, which has no such part, expected"
                " all; choose it"
            )
        return parameters

    def optimiser(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(
            self.parameters(), self.options.learning_rate, weight_decay=self.options.weight_decay
        )

    @property
    def training_patches(self) -> RandomPatches:
        """Random windows, drawn anew for each epoch."""
        return self._windows

    def loss(self, indices: list[int]) -> Tensor:
        """The inconsistency of two changed copies of each window."""
        images = self._windows.batch(indices)
        (first, in_first), (second, in_second) = self._changed(images), self._changed(images)
        both = in_first * in_second
        return 1 - consistency(first * both, second * both)[:, 1:].mean()

    def _changed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (B, K, ...) for a changed copy, brought back, and where they are valid."""
        strength = self.options.strength
        if self.options.contrast == "gin":
            images = random_convolutions(images, self.options.layers)
        maps = affine.random_maps(images, strength)
        deformed = affine.warped(images, maps, "border") if strength else images
        logits = class_logits(self.setting.logits(deformed))
        valid = torch.ones_like(logits[:, :1])
        if strength:
            back = affine.inverse(maps)
            logits, valid = (affine.warped(x, back, "zeros") for x in (logits, valid))
        if self.options.valid == "logits":
            valid = logits.sum(1, keepdim=True)
        return logits.softmax(1), (valid > 0).float()


def consistency(first: Tensor, second: Tensor) -> Tensor:
    """``mean_x(2 a b) / mean_x((a + b)^2 / 2)`` of each class of each image, (B, K); 1 where
    neither shows the class.

    Args:
        first, second: (B, K, ...) probabilities a and b, 0 where they are not to count.
    """
    over = (2 * first * second).flatten(2).mean(2)
    under = ((first + second).square() / 2).flatten(2).mean(2)
    return torch.where(under > 0, over / torch.where(under > 0, under, 1), 1.0)
