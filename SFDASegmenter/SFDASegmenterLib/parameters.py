"""The panel's state, kept in the scene: saving and reopening a scene brings it back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import slicer
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

from SFDALib.jobs.request import ADAPT, EACH, ONCE, OPEN
from SFDALib.methods import registry
from SFDALib.methods.option import PRESETS, RECOMMENDED

ONE, SEVERAL, SEQUENCE = "one", "several", "sequence"
ADAPT_ONCE = "adaptOnce"  # a tick of earlier versions, in place of ``adapt``


if TYPE_CHECKING:

    class Wrapper:
        """What the decorator gives a class."""

        parameterNode: Any

        def __init__(self, node: Any) -> None: ...

        def connectParametersToGui(self, widgets: dict[str, Any]) -> str:
            """Bind widgets by the name of their field; returns a tag."""

        def disconnectGui(self, tag: str) -> None:
            """Unbind what has this tag."""

        def Modified(self) -> None:
            """Tell the observers that something has changed."""


else:
    Wrapper = object


@parameterNodeWrapper
class Parameters(Wrapper):
    """What the widgets hold.

    Args:
        inputMode: one volume, several volumes, or the volumes of a sequence.
        inputVolume, inputSequence: what is chosen for the first and the last of them.
        inputVolumes: the several volumes.
        channels: the volumes of the second and further channels of a single image.
        adapt: how several volumes are adapted to, as in a cohort.
        bundle: folder or .zip of the source model, whatever made it.
        method: a name in SFDALib's registry.
        compare: run every method that the source model can serve.
        gate: deliver what the judge advises instead of always the result.
        postprocess: clean the segmentations as the source model asks.
        plausibleVolumes: of the source model's structures, as text; empty for the model's own.
        probabilities: keep the probabilities of all classes, too.
        preset: the values of options that the user did not set, of every method.
        options: by method, what differs from the preset; as JSON.
        device, seed: as of a job.
        result: the run that is shown, by its segmentation.
        shown: its result, the source model's, both side by side, or all that were compared or
            tried.
        page: of the last, as many are beside each other as there is room for.
        surface: whether the segmentation is shown in 3D, too.
        overlay: the role of the map that is shown over the image; empty for none.
        maps: by role, how a map is shown, see ``MapDisplay``; as JSON.
        sample: index of the diffusion sample that is shown.
    """

    inputMode: Annotated[str, Choice([ONE, SEVERAL, SEQUENCE])] = ONE
    inputVolume: slicer.vtkMRMLScalarVolumeNode
    inputVolumes: list[slicer.vtkMRMLScalarVolumeNode]
    inputSequence: slicer.vtkMRMLSequenceNode
    channels: list[slicer.vtkMRMLScalarVolumeNode]
    adapt: Annotated[str, Choice(list(ADAPT))] = OPEN
    bundle: str = ""
    method: str = registry.AUTO
    compare: bool = False
    gate: bool = True
    postprocess: bool = True
    plausibleVolumes: str = ""
    probabilities: bool = False
    preset: Annotated[str, Choice(list(PRESETS))] = RECOMMENDED
    options: str = "{}"
    device: str = "auto"
    seed: Annotated[int, WithinRange(0, 2**31 - 1)] = 0
    result: slicer.vtkMRMLSegmentationNode
    shown: Annotated[str, Choice(["result", "source", "both", "all"])] = "result"
    page: Annotated[int, WithinRange(0, 999)] = 0
    surface: bool = False
    overlay: str = ""
    maps: str = "{}"
    sample: int = 0


def parameters_in(node: Any) -> Parameters:
    """The panel's state that a node of the scene keeps, which an earlier version may have saved."""
    parameters = Parameters(node)
    ticked = node.GetParameter(ADAPT_ONCE)
    if ticked:
        parameters.adapt = ONCE if ticked.lower() == "true" else EACH
        node.UnsetParameter(ADAPT_ONCE)
    return parameters


@dataclass(frozen=True)
class MapDisplay:
    """How a map is shown over the image.

    Args:
        opacity: 0 is invisible, 1 hides the image.
        threshold: values up to here are transparent, in the unit of the map.
    """

    opacity: float = 0.6
    threshold: float = 0.2


def map_display(parameters: Parameters, role: str, default: MapDisplay) -> MapDisplay:
    """How the map of that role is shown; the default until the user changes it."""
    kept = json.loads(parameters.maps).get(role)
    return MapDisplay(**kept) if kept is not None else default


def set_map_display(parameters: Parameters, role: str, display: MapDisplay) -> None:
    """Keep how the map of that role is shown."""
    parameters.maps = json.dumps({**json.loads(parameters.maps), role: asdict(display)})


def options_of(parameters: Parameters, method: str) -> dict[str, Any]:
    """What the user set of a method's options."""
    return json.loads(parameters.options).get(method, {})


def set_options(parameters: Parameters, method: str, options: dict[str, Any]) -> None:
    """Keep what differs from the preset."""
    every = json.loads(parameters.options)
    every[method] = options
    parameters.options = json.dumps({name: values for name, values in every.items() if values})
