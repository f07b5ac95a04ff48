"""Fine-tuning on a few labelled images of the target domain, anchored to the source's weights.

The labels are one to three cases that somebody corrected, or masks that another tool made. This is
no unsupervised adaptation; its result is judged in the same way.

1. Re-estimate the batch statistics on the images to be segmented. 2. In each epoch draw random
windows of the labelled images, a third of them (3D) around a structure, with augmentation, and
minimise Dice and cross-entropy with their labels, plus the pull towards the source's weights
(L2-SP; Li, Grandvalet, Davoine, ICML 2018). 3. Deliver the state with the lowest loss on the
labelled images, leaving out those in which a structure vanishes from the images to be segmented or
floods them.

On the demo's T2W head 10 epochs on the T2W head of one other patient delivered Dice 0.941 from
0.358 (bn-statistics 0.856), with statistics re-estimated by 4 slices, not by
``reestimation_batch``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from SFDALib.adaptation.common.labelled_patches import LabelledPatches, whole
from SFDALib.adaptation.common.recipe import Recipe, Setting
from SFDALib.methods.few_labels import FewLabelsOptions
from SFDALib.training.segmentation import segmentation_loss


class FewLabels(Recipe[FewLabelsOptions]):
    """``L = CE(p, y) + 1 - Dice(p, y)`` of augmented windows."""

    reestimation_batch = 8

    def __init__(self, setting: Setting[FewLabelsOptions]) -> None:
        super().__init__(setting)
        cases, options = setting.cases, self.options
        self._windows = LabelledPatches(
            self.model, cases, options.patches, options.augment, setting.seed
        )
        self._images, self._labels = whole(self.model, cases)
        self.notes = [f"learned from the labels of {len(cases)} image(s)"]

    @property
    def training_patches(self) -> LabelledPatches:
        """Random windows of the labelled images, drawn anew for each epoch."""
        return self._windows

    def loss(self, indices: list[int]) -> Tensor:
        """The loss of a batch of windows."""
        logits = self.setting.logits(self._windows.batch(indices))
        return segmentation_loss(logits, self._windows.labels(indices), self.options.loss)

    @torch.no_grad()
    def selection_loss(self, network: nn.Module) -> float:
        """The loss on all of the labelled images, without augmentation."""
        network.eval()
        total = 0.0
        for indices in self._images.ordered(self.options.batch):
            logits = self.setting.logits(self._images.batch(indices), network)
            target = self._labels.batch(indices)[:, 0].long()
            total += segmentation_loss(logits, target, self.options.loss).item() * len(indices)
        return total / len(self._images)
