"""The panel's state, kept in the scene: saving and reopening a scene brings it back."""

from __future__ import annotations

import json
from typing import Annotated, Any

import slicer
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

ONE, SEVERAL, SEQUENCE = "one", "several", "sequence"


@parameterNodeWrapper
class Parameters:
    """What the widgets hold.

    Args:
        inputMode: one volume, several volumes, or the volumes of a sequence.
        inputVolume, inputSequence: what is chosen for the first and the last of them.
        inputVolumes: the several volumes.
        channels: the volumes of the second and further channels of a single image.
        adaptOnce: adapt to all volumes together.
        bundle: folder or .zip of the source model, whatever made it.
        method: a name in SFDALib's registry.
        compare: run every method that the source model can serve.
        gate: deliver what the judge advises instead of always the result.
        options: by method, what differs from the defaults; as JSON.
        device, seed: as of a job.
        result: the run that is shown, by its segmentation.
        shown: its result, the source model's, both side by side, or all that were compared.
        overlay: the role of the node that is shown over the image; empty for none.
        entropyOpacity, entropyThreshold, nigOpacity, nigThreshold, voteOpacity, voteThreshold,
        sampleOpacity: how.
        sample: index of the diffusion sample.
    """

    inputMode: Annotated[str, Choice([ONE, SEVERAL, SEQUENCE])] = ONE
    inputVolume: slicer.vtkMRMLScalarVolumeNode
    inputVolumes: list[slicer.vtkMRMLScalarVolumeNode]
    inputSequence: slicer.vtkMRMLSequenceNode
    channels: list[slicer.vtkMRMLScalarVolumeNode]
    adaptOnce: bool = False
    bundle: str = ""
    method: str = "heal"
    compare: bool = False
    gate: bool = True
    options: str = "{}"
    device: str = "auto"
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    result: slicer.vtkMRMLSegmentationNode
    shown: Annotated[str, Choice(["result", "source", "both", "all"])] = "result"
    overlay: Annotated[
        str, Choice(["", "entropy", "nig_uncertainty", "vote_entropy", "sample"])
    ] = ""
    entropyOpacity: Annotated[float, WithinRange(0, 1)] = 0.6
    entropyThreshold: Annotated[float, WithinRange(0, 8)] = 0.2
    nigOpacity: Annotated[float, WithinRange(0, 1)] = 0.6
    nigThreshold: Annotated[float, WithinRange(0, 1)] = 0.2
    voteOpacity: Annotated[float, WithinRange(0, 1)] = 0.6
    voteThreshold: Annotated[float, WithinRange(0, 8)] = 0.2
    sampleOpacity: Annotated[float, WithinRange(0, 1)] = 1.0
    sample: int = 0


def options_of(parameters: Parameters, method: str) -> dict[str, Any]:
    """What the user set of a method's options."""
    return json.loads(parameters.options).get(method, {})


def set_options(parameters: Parameters, method: str, options: dict[str, Any]) -> None:
    """Keep what differs from the defaults."""
    every = json.loads(parameters.options)
    every[method] = options
    parameters.options = json.dumps({name: values for name, values in every.items() if values})
