"""The rules by which a voxel's label is decided: the largest probability, regions, a threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from SFDALib.volume.apply_cleaning import apply_cleaning
from SFDALib.volume.cleaning import PROBABILITIES, Cleaning
from SFDALib.volume.geometry import Geometry
from SFDALib.volume.input_spec import InputSpec, Region
from SFDALib.volume.smoothing import smooth_slices

EVEN = 0.5  # a region's probability must be larger, unless the model has its own threshold
CERTAIN = 85.0  # logit of a voxel that cleaning changed: its probability is 1 in float32
Spacing = tuple[float, ...]
Resampled = Callable[..., Tensor]  # of maps and the value outside, as ``Conformed.resampled``


class Grids(Protocol):
    """The model's grid, the input's grid, and the two steps from one to the other."""

    @property
    def input_spec(self) -> InputSpec:
        """How the model's labels are decided and cleaned."""

    @property
    def geometry(self) -> Geometry:
        """The model's grid."""

    @property
    def input_geometry(self) -> Geometry:
        """The input's grid."""

    def resampled(self, maps: Tensor, outside: float = 0.0) -> Tensor:
        """Maps ``(C, k, j, i)`` resampled to the input's spacing; ``outside`` fills the rest."""

    def placed(self, maps: Tensor, outside: float = 0.0) -> Tensor:
        """Resampled maps as ``(C, K, J, I)`` on the input's grid; ``outside`` fills the rest."""


def least_byte(spec: InputSpec) -> int | None:
    """The byte from which ``byte_maps`` means a region or label; None where the largest does."""
    if spec.regions or spec.threshold is not None:
        return math.ceil(255 * (EVEN if spec.threshold is None else spec.threshold))
    return None


def rule_of(conformed: Grids, probabilities: Tensor) -> Rule:
    """The rule of the model, for its probabilities ``(C, k, j, i)`` on one image."""
    kind = _Regions if conformed.input_spec.regions else _Classes
    return kind(conformed, probabilities)


class Rule:
    """How labels are decided on one image.

    The probabilities are first smoothed across slices, where that is asked for. The labels are then
    decided and cleaned on the model's grid, where the model cleans them there; what that changes is
    certain from then on.
    """

    def __init__(self, conformed: Grids, probabilities: Tensor) -> None:
        self.conformed, self.input_spec = conformed, conformed.input_spec
        for step in _steps(self.input_spec, PROBABILITIES):
            mm = conformed.geometry.spacing_kji[0]
            probabilities = smooth_slices(probabilities, mm, step.arguments["sigma_mm"])
        self.probabilities = probabilities
        self.cleaned: Tensor | None = None
        self.changed: Tensor | None = None
        if steps := _steps(self.input_spec, "model"):
            before = self.decided(lambda maps, outside=0.0: maps)
            self.cleaned = self.clean(before, steps, conformed.geometry.spacing_kji)
            self.changed = self.cleaned != before

    def found(self) -> Tensor:
        """What was decided and cleaned, on the input's grid."""
        conformed, steps = self.conformed, _steps(self.input_spec, "input")
        found = conformed.placed(self.decided(conformed.resampled))
        if steps:  # MONAI's arrays have the axes I, J, K
            spacing = conformed.input_geometry.spacing
            found = self.clean(found.permute(0, 3, 2, 1), steps, spacing).permute(0, 3, 2, 1)
        return found

    def decided(self, resampled: Resampled) -> Tensor:
        """Labels ``(1, ...)`` or a mask of each channel ``(C, ...)``, uint8."""
        raise NotImplementedError

    def clean(self, found: Tensor, steps: tuple[Cleaning, ...], spacing: Spacing) -> Tensor:
        """Args:
        spacing: mm along the axes of ``found``.
        """
        raise NotImplementedError

    def painted(self, found: Tensor) -> Tensor:
        """What was decided as labels ``(...)``."""
        raise NotImplementedError

    def channel_labels(self) -> list[int]:
        """The label of each of ``channels``."""
        raise NotImplementedError

    def channels(self) -> Iterator[Tensor]:
        """Maps ``(K, J, I)``, 0 to 1, on the input's grid."""
        raise NotImplementedError

    def agree(self, maps: np.ndarray, found: np.ndarray) -> None:
        """Make bytes ``(K, J, I, channels)`` say what was found."""
        raise NotImplementedError


class _Classes(Rule):
    """The largest probability wins, the first of equal ones; background where it is too small."""

    def decided(self, resampled: Resampled) -> Tensor:
        threshold, binary = self.input_spec.threshold, len(self.probabilities) == 2
        if threshold is not None and binary:  # whichever is larger
            return (self._probability(1, resampled) >= threshold).to(torch.uint8)
        best = self._candidate(0, resampled)
        found = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
        for value in range(1, len(self.probabilities)):
            candidate = self._candidate(value, resampled)
            wins = candidate > best
            found[wins] = value
            best = torch.where(wins, candidate, best)
        if threshold is not None:
            certain = torch.zeros_like(found, dtype=torch.bool)
            for value in range(1, len(self.probabilities)):
                certain |= (found == value) & (self._probability(value, resampled) >= threshold)
            found[~certain] = 0
        return found

    def _probability(self, value: int, resampled: Resampled) -> Tensor:
        return resampled(self._of(value)[None].float())

    def _candidate(self, value: int, resampled: Resampled) -> Tensor:
        p = self._of(value)[None].float()
        # but for a term that all classes share, log p is the logit
        return resampled(_log(p) if self.input_spec.resampling.maps == "logits" else p)

    def _of(self, value: int) -> Tensor:
        if self.cleaned is None or self.changed is None:
            return self.probabilities[value]
        return torch.where(
            self.changed[0], (self.cleaned[0] == value).float(), self.probabilities[value].float()
        )

    def clean(self, found: Tensor, steps: tuple[Cleaning, ...], spacing: Spacing) -> Tensor:
        for step in steps:
            if step.one_hot:
                masks = F.one_hot(found[0].long(), len(self.probabilities)).movedim(-1, 0)
                masks = apply_cleaning(step, masks.to(torch.uint8), self.input_spec, spacing)[1:]
                inside, value = masks.max(0, keepdim=True)
                found = torch.where(inside > 0, value + 1, 0).to(torch.uint8)
            else:
                found = apply_cleaning(step, found, self.input_spec, spacing)
        return found

    def painted(self, found: Tensor) -> Tensor:
        return found[0]

    def channel_labels(self) -> list[int]:
        return list(range(len(self.probabilities)))

    def channels(self) -> Iterator[Tensor]:
        resampled, logits = self.conformed.resampled, self.input_spec.resampling.maps == "logits"
        total = torch.empty(0)
        if logits:  # what is interpolated: a softmax makes probabilities of them
            for value in range(len(self.probabilities)):
                found = self._candidate(value, resampled)
                total = found if value == 0 else torch.logaddexp(total, found)
        for value in range(len(self.probabilities)):
            found = self._candidate(value, resampled)
            found = (found - total).exp() if logits else found
            yield self.conformed.placed(found, outside=float(value == 0))[0]

    def agree(self, maps: np.ndarray, found: np.ndarray) -> None:
        least = least_byte(self.input_spec)
        if least is not None:
            for value in range(1, maps.shape[-1]):
                _cut(maps[..., value], found[0] == value, least)
            return
        for k, plane in enumerate(found[0]):  # slice by slice, for the memory
            bytes_, label = maps[k].astype(np.int16), plane[..., None].astype(np.int64)
            own, most = np.take_along_axis(bytes_, label, -1), bytes_.max(-1, keepdims=True)
            other = bytes_.argmax(-1)[..., None] != label
            np.put_along_axis(bytes_, label, np.where(other, most + 1, own), -1)
            cleaned = (other & (own < most - 1))[..., 0]
            bytes_[cleaned] = 255 * (label[cleaned] == np.arange(maps.shape[-1]))
            maps[k] = bytes_


class _Regions(Rule):
    """A region's sigmoid decides where it is; ``networks.assembly.Regions`` is undone: a region's
    odds are those of its label against all that is painted before.
    """

    def decided(self, resampled: Resampled) -> Tensor:
        logits = self.input_spec.resampling.maps == "logits"
        masks = torch.empty(0)
        limit = EVEN if self.input_spec.threshold is None else self.input_spec.threshold
        if logits:
            limit = math.log(limit / (1 - limit))
        for region, map_ in self._maps(resampled):
            if not len(masks):
                count = 1 + max(r.channel for r in self.input_spec.regions)
                masks = torch.zeros((count, *map_.shape), dtype=torch.uint8, device=map_.device)
            inside = map_ > limit if self.input_spec.threshold is None else map_ >= limit
            masks[region.channel] = inside
        return masks

    def _maps(self, resampled: Resampled) -> Iterator[tuple[Region, Tensor]]:
        """Of each region its logits or probabilities, whichever are interpolated."""
        before = self.probabilities[0].float()
        for region in self.input_spec.regions:
            p = self.probabilities[region.label].float()
            logit = _log(p) - _log(before)
            if self.cleaned is not None and self.changed is not None:
                sure = torch.where(self.cleaned[region.channel] > 0, CERTAIN, -CERTAIN)
                logit = torch.where(self.changed[region.channel], sure, logit)
            if self.input_spec.resampling.maps == "logits":
                yield region, resampled(logit[None], -CERTAIN)[0]
            else:
                yield region, resampled(torch.sigmoid(logit)[None])[0]
            before = before + p

    def clean(self, found: Tensor, steps: tuple[Cleaning, ...], spacing: Spacing) -> Tensor:
        for step in steps:
            found = apply_cleaning(step, found, self.input_spec, spacing)
        return found

    def painted(self, found: Tensor) -> Tensor:
        result = torch.zeros(found.shape[1:], dtype=torch.uint8, device=found.device)
        for region in self.input_spec.regions:
            result[found[region.channel] > 0] = region.label
        return result

    def channel_labels(self) -> list[int]:
        return [region.label for region in self.input_spec.regions]

    def channels(self) -> Iterator[Tensor]:
        for _, map_ in self._maps(self.conformed.resampled):
            if self.input_spec.resampling.maps == "logits":
                map_ = torch.sigmoid(map_)
            yield self.conformed.placed(map_[None])[0]

    def agree(self, maps: np.ndarray, found: np.ndarray) -> None:
        least = least_byte(self.input_spec)
        assert least is not None  # as there are regions
        for channel, region in enumerate(self.input_spec.regions):
            _cut(maps[..., channel], found[region.channel] > 0, least)


def _steps(spec: InputSpec, on: str) -> tuple[Cleaning, ...]:
    return tuple(step for step in spec.cleaning if step.on == on)


def _cut(map_: np.ndarray, inside: np.ndarray, least: int) -> None:
    """Let bytes be at least ``least`` inside and less outside: by a step where rounding is the
    reason, else all of it.
    """
    low, high = inside & (map_ < least), ~inside & (map_ >= least)
    map_[low] = np.where(map_[low] >= least - 1, least, 255)
    map_[high] = np.where(map_[high] <= least, least - 1, 0)


def _log(p: Tensor) -> Tensor:
    return p.clamp(min=1e-37).log()
