"""Apply the transforms that clean labels (``cleaning``): MONAI's, and one of our own."""

from __future__ import annotations

import copy
import warnings

from monai import transforms
from monai.utils import convert_to_tensor
from torch import Tensor

from SFDALib.volume.cleaning import KEEP_PLAUSIBLE, Cleaning
from SFDALib.volume.components import keep_plausible
from SFDALib.volume.input_spec import InputSpec


def apply_cleaning(
    step: Cleaning, found: Tensor, spec: InputSpec, spacing: tuple[float, ...]
) -> Tensor:
    """Clean labels or masks by MONAI's own transform, or by ``components.keep_plausible``.

    Args:
        step: the transform and its arguments.
        found: ``(C, ...)`` uint8 with three spatial axes; a single slice of a 2D model is cleaned
            up in 2D.
        spec: the model's input.
        spacing: mm along the spatial axes of ``found``.

    Returns:
        The labels or masks, with the shape, type and device of ``found``.
    """
    if step.transform == KEEP_PLAUSIBLE:
        return keep_plausible(step, found, spacing)
    arguments = copy.deepcopy(dict(step.arguments))
    plane = next((axis for axis in (1, 2, 3) if spec.is_2d and found.shape[axis] == 1), None)
    if plane is not None:
        found = found.squeeze(plane)
        spacing = tuple(mm for axis, mm in enumerate(spacing, start=1) if axis != plane)
    if arguments.get("by_measure"):
        arguments["pixdim"] = spacing
    if arguments.get("connectivity"):
        arguments["connectivity"] = min(arguments["connectivity"], found.dim() - 1)
    with warnings.catch_warnings():  # MONAI warns about a future version of scikit-image
        warnings.simplefilter("ignore")
        cleaned = getattr(transforms, step.transform)(**arguments)(found.cpu().clone())
    # without the metadata that MONAI attaches: the next transform would use its spacing
    cleaned = convert_to_tensor(cleaned, track_meta=False).to(found.device, found.dtype)
    return cleaned if plane is None else cleaned.unsqueeze(plane)
