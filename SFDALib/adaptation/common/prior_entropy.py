"""Minimise the entropy of the predictions under a class-ratio prior: what AdaMI and AdaEnt share.

All weights are trained on the target images alone, by Adam, as published. Beyond the papers: the
ratio may be that of the whole volume, which needs no image-level tags; the best state is chosen
without labels (the papers choose by target labels); a collapsing adaptation is stopped.
"""

from __future__ import annotations

import torch
from torch import Tensor

from SFDALib.adaptation.common import losses, prior
from SFDALib.adaptation.common.recipe import Recipe, Setting
from SFDALib.errors import RequestError
from SFDALib.methods import needs
from SFDALib.methods.prior_entropy import PriorEntropyOptions, usual_rate


class PriorEntropy(Recipe[PriorEntropyOptions]):
    """``L = entropy_weight * weighted_entropy + prior_weight * prior_term(estimate, prior)``."""

    def __init__(self, setting: Setting[PriorEntropyOptions]) -> None:
        super().__init__(setting)
        self._priors, self._keep, note = priors(setting)
        self.notes = [note]
        if self.options.learning_rate is None:
            kind = "with" if self._with_bn else "without"
            self.notes.append(
                f"learning rate: {self.learning_rate:g}, for a network {kind} batch normalisation"
            )
        weights = class_weights(self.options.class_weights, self._priors)
        self._class_weights = weights.to(self.model.device)
        self._volumes: prior.VolumeRatios | None = None
        if self.options.presence == "volume":
            self._volumes = prior.VolumeRatios(self.patches.image_of)

    def prior_term(self, estimate: Tensor, prior: Tensor, keep: Tensor | None) -> Tensor:
        """Distance of the class ratios from the prior, as the method defines it.

        Args:
            estimate, prior: (B, K).
            keep: (B, K) 0 where a class is left out; None to keep all.
        """
        raise NotImplementedError

    def optimiser(self) -> torch.optim.Optimizer:
        """Adam with an L2 penalty."""
        return torch.optim.Adam(
            self.parameters(), self.learning_rate, weight_decay=self.options.weight_decay
        )

    @property
    def learning_rate(self) -> float:
        """The given one, or that of the kind of network.

        Without batch statistics that are re-estimated the weights alone have to follow the shift.
        """
        if self.options.learning_rate is not None:
            return self.options.learning_rate
        return usual_rate(self._with_bn)

    @property
    def _with_bn(self) -> bool:
        return needs.BATCH_NORM in self.model.description.holds

    def learning_rate_factor(self, epoch: int) -> float:
        """As in the original, which decays after epochs 20, 40, ... counted from 0."""
        return self.options.lr_decay ** (max(epoch - 1, 0) // self.options.lr_decay_epochs)

    @torch.no_grad()
    def on_source(self) -> None:
        """Predict the ratios of all patches of the volumes."""
        if not self._volumes:
            return
        self.network.eval()
        for indices in self.patches.ordered(self.options.batch):
            p = self.setting.probabilities(self.patches.batch(indices))
            self._volumes.renew(indices, losses.class_ratio(p, self.options.ratio))

    def loss(self, indices: list[int]) -> Tensor:
        """The loss of a batch."""
        options, device = self.options, self.model.device
        p = self.setting.probabilities(self.patches.batch(indices))
        estimate = losses.class_ratio(p, options.ratio)
        expected = self._priors[indices].to(device)
        keep: Tensor | None = self._keep[indices].to(device)
        if self._volumes:
            estimate = self._volumes.estimate(indices, estimate)
            expected, keep = expected[:1].expand_as(estimate), None
        if options.presence == "notag":
            keep = predicted_classes(p, options.presence_threshold)
        entropy = losses.weighted_entropy(p, self._class_weights)
        distance = self.prior_term(estimate, expected, keep)
        return options.entropy_weight * entropy + options.prior_weight * distance


def priors(setting: Setting[PriorEntropyOptions]) -> tuple[Tensor, Tensor, str]:
    """Prior (N, K) and use (N, K) of every patch, and what the report says of them."""
    options, description = setting.options, setting.model.description
    images, patches = setting.images, setting.patches
    present, used, shown = _presence(setting)
    spacing = images[0].geometry.spacing_kji
    window = patches.size if len(patches.size) == 3 else (1, *patches.size)
    patch_mm = [n * mm for n, mm in zip(window, spacing, strict=True)]
    volumes = any(image.array.shape[1] > 1 for image in images)
    whole = options.presence == "volume" and volumes
    full = prior.class_ratios(options.prior, description, patch_mm, shown, whole, not volumes)
    keep = used[:, None].float().expand(-1, description.classes)
    shares = ", ".join(
        f"{label.name} {100 * float(ratio):.1f} %"
        for label, ratio in zip(description.labels, full[1:], strict=True)
    )
    note = f"prior: {shares} of {'the whole volume' if whole else 'a patch that shows it'}"
    if not whole:
        positive = int(present.any(1).sum())
        note += f"; used on {int(used.sum())} of {len(patches)} patches, {positive} positive"
    return prior.image_priors(full, present), keep, note


def _presence(setting: Setting[PriorEntropyOptions]) -> tuple[Tensor, Tensor, list[float]]:
    """Which patches show a class (N, K-1) and are used (N,), and how many of an image show it."""
    patches, options = setting.patches, setting.options
    count, classes = len(setting.images), setting.model.description.classes
    present = torch.ones(len(patches), classes - 1, dtype=torch.bool)
    used = torch.ones(len(patches), dtype=torch.bool)
    if options.presence == "tags":
        present = prior.read_tags(options.tags or "", len(patches), classes)
        return present, used, (present.sum(dim=0) / count).tolist()
    if options.presence not in ("select", "notag"):
        return present, used, [len(patches) / count] * (classes - 1)
    ratios = _source_ratios(setting)
    if options.presence == "select":
        present, used = prior.selected(ratios, options.presence_threshold)
    return (
        present,
        used,
        ((ratios[:, 1:] > options.presence_threshold).sum(dim=0) / count).tolist(),
    )


@torch.no_grad()
def _source_ratios(setting: Setting[PriorEntropyOptions]) -> Tensor:
    """Share of each class among the source's labels of each patch, (N, K)."""
    patches, network = setting.patches, setting.model.network
    return torch.cat(
        [
            hard_ratios(setting.probabilities(patches.batch(indices), network)).cpu()
            for indices in patches.ordered(setting.options.batch)
        ]
    )


def hard_ratios(p: Tensor) -> Tensor:
    """Share of each class among the arg-max labels of each image, ``(B, K)``."""
    labels = p.argmax(1).flatten(1)
    return torch.stack([(labels == k).float().mean(1) for k in range(p.shape[1])], dim=1)


def predicted_classes(p: Tensor, threshold: float) -> Tensor:
    """NoTag: 0 for classes of an image whose hard ratio is at most the threshold, and for the
    background where the whole foreground is.
    """
    ratios = hard_ratios(p)
    keep = ratios > threshold
    keep[:, 0] = ratios[:, 1:].sum(1) > threshold
    return keep.float()


def class_weights(text: str, priors: Tensor) -> Tensor:
    """The weights typed, or the inverse mean prior sizes, normalised."""
    classes = priors.shape[1]
    if text == "auto":
        inverse = 1 / priors.mean(dim=0).clamp(min=1e-4)
        return inverse / inverse.sum()
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) != classes or min(values, default=-1) < 0:
        raise RequestError(
            f'option class_weights: found "{text[:60]}", expected auto or {classes} numbers'
            " separated by commas, background first"
        )
    return torch.tensor(values)
