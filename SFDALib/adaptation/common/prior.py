"""The class-ratio prior of AdaMI and AdaEnt: how much of an image each class should fill.

From the bundle (mean area on the source's slices that show the class, or mean volume), or typed by
the user in ml or as a ratio. Image-level presence is told by tags or guessed from the source
model's own prediction, as in the originals' tag-free variants.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from SFDALib.bundle.description import Description
from SFDALib.errors import RequestError

NUMBER = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ml|%)?\s*$")


def class_ratios(
    text: str,
    description: Description,
    patch_mm: Sequence[float],
    shown: Sequence[float],
    whole: bool,
    slices: bool = False,
) -> Tensor:
    """Prior ratios ``(K,)`` of a patch that shows every class; they sum to 1.

    Args:
        text: "bundle", or one value a foreground class, separated by commas: "1400 ml", "20 %" or
            "0.2".
        patch_mm: extent of a patch in mm along k, j, i.
        shown: for each foreground class, in how many patches of an image it is expected to show (a
            volume in ml is spread over so many).
        whole: ratios of the whole image instead, from volumes in ml also for a 2D model.
        slices: all images are single slices, of which the bundle's volumes say nothing.

    Raises:
        RequestError: unreadable, a wrong number of values, or ratios that exceed 1 together.
    """
    values = (
        _from_bundle(description, whole, slices) if text == "bundle" else _typed(text, description)
    )
    full = {"ml": math.prod(patch_mm) / 1000, "mm2": math.prod(patch_mm[1:]), "ratio": 1.0}
    ratios = [
        value / full[unit] / (max(count, 1.0) if unit == "ml" else 1.0)
        for (value, unit), count in zip(values, shown, strict=True)
    ]
    if sum(ratios) >= 1 or min(ratios) <= 0:
        found = ", ".join(f"{100 * ratio:.3g} %" for ratio in ratios)
        raise RequestError(
            f"option prior: found structures that are to fill {found} of the image, expected more"
            " than 0 % and less than 100 % in all; where the image shows a part of them, type the"
            " volume of that part or its share"
        )
    return torch.tensor([1 - sum(ratios), *ratios])


def _from_bundle(description: Description, whole: bool, slices: bool) -> list[tuple[float, str]]:
    """The mean area on the slices that show a class, for a 2D model; else its mean volume."""
    values = []
    for label in description.labels:
        if description.input_spec.is_2d and not whole and label.slice_area_mm2 is not None:
            values.append((label.slice_area_mm2, "mm2"))
        elif label.mean_ml is not None and not slices:
            values.append((label.mean_ml, "ml"))
        else:
            what, typed = ("size", "1400ml, or plausible volumes with --volumes")
            if slices:
                what, typed = ("area on a slice", "20%")
            raise RequestError(
                f"option prior: found no {what} of {label.name} in the bundle, expected one; type"
                f" it, for example prior={typed}, or add sizes with import-model --labels"
            )
    return values


def _typed(text: str, description: Description) -> list[tuple[float, str]]:
    matches = [NUMBER.match(part) for part in text.split(",")]
    found = [match for match in matches if match]
    if len(found) < len(matches) or len(matches) != len(description.labels):
        names = ", ".join(label.name for label in description.labels)
        raise RequestError(
            f'option prior: found "{text[:60]}", expected "bundle" or one value for each of {names}'
            ' such as "1400 ml", "20 %" or "0.2", separated by commas'
        )
    pairs = [match.groups() for match in found]
    return [
        (float(number) / (100 if unit == "%" else 1), "ml" if unit == "ml" else "ratio")
        for number, unit in pairs
    ]


def image_priors(full: Tensor, present: Tensor) -> Tensor:
    """Priors ``(B, K)``: absent classes get 0, their share goes to the background.

    Args:
        full: (K,) of an image that shows every class.
        present: (B, K-1) bool.
    """
    foreground = full[1:] * present
    return torch.cat([1 - foreground.sum(1, keepdim=True), foreground], dim=1)


def selected(hard_ratio: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """The originals' tag-free selection from the source's predicted ratios ``(B, K)``.

    No predicted foreground: a negative image. More than ``threshold``: a positive one. Between:
    not used by the prior term.

    Returns:
        present (B, K-1) bool, and used (B,) bool.
    """
    foreground = hard_ratio[:, 1:].sum(dim=1)
    used = (foreground == 0) | (foreground > threshold)
    present = (foreground > threshold)[:, None].expand(-1, hard_ratio.shape[1] - 1)
    return present, used


def read_tags(text: str, images: int, classes: int) -> Tensor:
    """Image-level tags typed by the user: for each slice 0 or 1, or one digit a class.

    "0011" tags four slices of a binary model; "00,11,01" three slices of a model of two classes.

    Returns:
        present (images, classes - 1) bool.
    """
    words = text.split(",") if "," in text else list(text)
    good = len(words) == images and all(
        len(word) == classes - 1 and set(word) <= {"0", "1"} for word in words
    )
    if not good:
        raise RequestError(
            f'option tags: found "{text[:40]}" for {len(words)} slice(s), expected {classes - 1}'
            f" digit(s) 0 or 1 for each of {images} slices, separated by commas"
        )
    return torch.from_numpy(np.array([[digit == "1" for digit in word] for word in words]))


class VolumeRatios:
    """Class ratios of whole volumes of which a batch holds some patches: the others keep the ratio
    that was predicted last, so that the loss does not depend on the batch's size.

    Args:
        image_of: index of each patch's image.
    """

    def __init__(self, image_of: Sequence[int]) -> None:
        self._image_of = torch.tensor(image_of)
        self._latest: Tensor | None = None

    def renew(self, indices: Sequence[int], ratios: Tensor) -> None:
        """Note the ratios (B, K) of patches, without their gradients."""
        if self._latest is None:
            self._latest = ratios.new_zeros(len(self._image_of), ratios.shape[1])
        self._latest[indices] = ratios.detach()

    def estimate(self, indices: Sequence[int], ratios: Tensor) -> Tensor:
        """Mean ratios (V, K) of the images that the patches belong to.

        The gradient is that of the patches' own mean: they stand for those of their image that are
        not in the batch, as they do in the other terms of a loss.
        """
        self.renew(indices, ratios)
        latest = cast(Tensor, self._latest)  # ``renew`` makes it
        image_of = self._image_of[indices]
        estimates = []
        for image in image_of.unique().tolist():
            whole = latest[(self._image_of == image).to(ratios.device)].mean(0)
            share = ratios[(image_of == image).to(ratios.device)].mean(0)
            estimates.append(whole + (share - share.detach()))
        return torch.stack(estimates)
