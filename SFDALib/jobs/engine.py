"""A source model loaded for a method: what all images of a request share."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from SFDALib.bundle import assembly, postprocessing, typed_volumes
from SFDALib.bundle.open_model import open_model
from SFDALib.bundle.source import Source
from SFDALib.bundle.source_model import SourceModel
from SFDALib.bundle.typed_volumes import TypedVolume
from SFDALib.errors import RequestError
from SFDALib.jobs.cases import read_cases
from SFDALib.jobs.labelled import Labelled
from SFDALib.jobs.request import Request
from SFDALib.machine import devices
from SFDALib.methods import needs, registry
from SFDALib.methods.auto import AutoOptions
from SFDALib.methods.method import Method
from SFDALib.methods.option import RECOMMENDED, described
from SFDALib.methods.outcome import Adapted
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.training.manifest import Case
from SFDALib.volume.cleaning import Cleaning
from SFDALib.volume.image_file import ImageFile
from SFDALib.volume.input_spec import InputSpec
from SFDALib.volume.reading import Reading


@dataclass(frozen=True)
class Engine:
    """A loaded source model, a method with its options, and the device.

    Args:
        bundle: the files that the networks were loaded from.
        bundle_sha256: their checksum before they were read.
        model: the networks on the device.
        method: what to do.
        options: of the method, every one with its value.
        seed: of all random numbers.
        cases: images with segmentations that the method learns from.
        learned_from: SHA-256 of their files, taken before they were read.
        probabilities: whether the class probabilities are written, too.
        preset: of the options of the methods that ``method`` chooses among.
        cleaning: the post-processing of the segmentations.
        volumes: the plausible ones that were typed; the model's description holds them already.
    """

    bundle: SourceModel
    bundle_sha256: str
    model: Source
    method: Method
    options: InferenceOptions
    seed: int
    cases: tuple[Case, ...] = ()
    learned_from: Mapping[Path, str] = field(default_factory=dict)
    probabilities: bool = False
    preset: str = RECOMMENDED
    cleaning: tuple[Cleaning, ...] = ()
    volumes: tuple[TypedVolume, ...] = ()

    @property
    def input_spec(self) -> InputSpec:
        """The model's, with the post-processing of this run."""
        return replace(self.model.description.input_spec, cleaning=self.cleaning)

    def learning_from(self, labelled: Sequence[Labelled], reading: Reading) -> Engine:
        """The same with what its method learns from; a method that needs no labels gets none.

        Raises:
            RequestError: labels that do not fit their image or the model.
        """
        if needs.LABELS not in self.method.needs:
            return self
        files = [Path(file) for one in labelled for file in (*one.image, one.labels)]
        learned_from = {k: v for file in files for k, v in ImageFile(file).checksums().items()}
        cases = read_cases(labelled, reading, self.model)
        return replace(self, cases=cases, learned_from=learned_from)

    def serving(self, method: Method) -> Engine:
        """The same model for another method, with this one's options of inference."""
        names = [option.name for option in described(InferenceOptions)]
        given = {name: getattr(self.options, name) for name in names}
        return replace(self, method=method, options=method.values(given, self.preset))

    def tries(self) -> list[Engine]:
        """The methods that are run: this one, or those that it chooses among, in their order."""
        if not self.method.chooses:
            return [self]
        return [self.serving(one) for one in registry.candidates(self.model.description.holds)]

    @property
    def time_limit(self) -> float:
        """Seconds that the method may take for an image; infinite if it has no limit."""
        if not isinstance(self.options, AutoOptions):
            return math.inf
        return self.options.seconds(on_cpu=self.model.device.type == "cpu")

    def adapted_network(self, adapted: Adapted) -> nn.Module:
        """A copy of the source network, or several together, with the adapted weights."""
        copies = [copy.deepcopy(self.model.network) for _ in range(adapted.members)]
        network = assembly.ensemble_of(copies)
        network.load_state_dict(adapted.weights)
        return network


def engines_of(request: Request, methods: Mapping[str, Mapping[str, Any]]) -> dict[str, Engine]:
    """Load the bundle of a request once for several methods, given with their options.

    Raises:
        RequestError: as ``open_engines``, or this machine has no such device.
    """
    opened = open_engines(
        Path(request.bundle),
        methods,
        devices.resolve(request.device),
        request.seed,
        request.preset,
        request.postprocess,
        request.volumes,
    )
    return {
        name: replace(engine, probabilities=request.probabilities)
        for name, engine in opened.items()
    }


def open_engine(
    bundle: Path,
    method: str,
    options: Mapping[str, Any],
    device: torch.device,
    seed: int,
    preset: str = RECOMMENDED,
    postprocess: str = postprocessing.BUNDLE,
) -> Engine:
    """Load a bundle for one method, see ``open_engines``."""
    return open_engines(bundle, {method: options}, device, seed, preset, postprocess)[method]


def open_engines(
    bundle: Path,
    methods: Mapping[str, Mapping[str, Any]],
    device: torch.device,
    seed: int,
    preset: str = RECOMMENDED,
    postprocess: str = postprocessing.BUNDLE,
    volumes: tuple[TypedVolume, ...] = (),
) -> dict[str, Engine]:
    """Load a bundle once for several methods, given with their options; they share its networks.

    What the model cannot serve is refused before its weights are read. Whether labels are given to
    a method that needs them, the request checks.

    Args:
        bundle: the source model.
        methods: for each method the options that differ from the preset, or all.
        device: where the networks are loaded.
        seed: of all random numbers.
        preset: of the options that are not given.
        postprocess, volumes: as in a request.

    Raises:
        RequestError: the bundle is unusable, lacks what a method needs, cannot have a step of
            post-processing, or has no structure whose volumes were typed.
    """
    chosen = {name: registry.find(name) for name in methods}
    opened = open_model(bundle)
    description = opened.describe()
    labels = typed_volumes.sized(description.labels, volumes)
    description = replace(description, labels=labels)
    lacking = registry.lacking({*description.holds, needs.LABELS})
    for name in methods:
        if lacking[name]:
            usable = [other for other, reason in lacking.items() if reason is None]
            raise RequestError(
                f"{bundle}: method {name} {lacking[name]}; with this bundle you can use"
                f" {', '.join(usable)}"
            )
    cleaning = postprocessing.cleaning(postprocess, description)
    torch.manual_seed(seed)
    wanted = any(
        method.adapts or method.chooses or needs.DIFFUSION in method.needs
        for method in chosen.values()
    )
    before = opened.sha256()
    model = opened.load(device, diffusion=wanted)
    model = replace(model, description=replace(model.description, labels=labels))
    return {
        name: Engine(
            opened,
            before,
            model,
            method,
            method.values(methods[name], preset),
            seed,
            preset=preset,
            cleaning=cleaning,
            volumes=volumes,
        )
        for name, method in chosen.items()
    }
