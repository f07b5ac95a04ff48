"""One method on one image: the steps that run, cohort and compare are made of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from SFDALib.adaptation.common import loop
from SFDALib.bundle.description import Label
from SFDALib.inference.predict import predict
from SFDALib.jobs.engine import Engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.memory_need import refuse_too_large
from SFDALib.jobs.postprocessing import Changes, postprocess
from SFDALib.jobs.stages import Stages
from SFDALib.methods import needs, registry
from SFDALib.methods.outcome import Adapted, Segmented
from SFDALib.progress import Progress
from SFDALib.trust.fingerprint import unlike
from SFDALib.uncertainty import entropy
from SFDALib.volume.conform import Conformed, conform
from SFDALib.volume.formats import SUFFIXES
from SFDALib.volume.geometry import Volume
from SFDALib.volume.image_file import ImageFile
from SFDALib.volume.reading import Reading

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """One image: as read, on the model's grid, and as the source model segments it.

    Args:
        image: its files.
        checksums: SHA-256 of each of them, taken before they were read.
        volume: as read.
        conformed: on the model's grid.
        source_probabilities: of the source model, ``(K, k, j, i)``.
        labels: the structures that the model segments.
        notes: what was assumed in reading it, and what does not fit the model.
    """

    image: ImageFile
    checksums: Mapping[Path, str]
    volume: Volume
    conformed: Conformed
    source_probabilities: Tensor
    labels: Sequence[Label]
    notes: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files as the user gave them; several are channels."""
        return self.image.paths

    @property
    def name(self) -> str:
        """The first file's name without its ending."""
        name = self.paths[0].name
        ending = max((s for s in SUFFIXES if name.lower().endswith(s)), key=len, default="")
        return name[: len(name) - len(ending)] or name

    @cached_property
    def source_segmentation(self) -> tuple[np.ndarray, Changes]:
        """The source model's labels on the input's grid, ``(K, J, I)`` uint8, and what
        post-processing changed in them. Made once, as every method's result is beside it.
        """
        return postprocess(self.conformed, self.source_probabilities, self.labels)

    @property
    def source_labels(self) -> np.ndarray:
        """The labels of ``source_segmentation``."""
        return self.source_segmentation[0]

    @property
    def entropy(self) -> np.ndarray:
        """Entropy of the source probabilities in bits on the input's grid, ``(K, J, I)``."""
        return self.restored(entropy(self.source_probabilities, "bits"))

    def restored(self, map_: Tensor) -> np.ndarray:
        """A map ``(k, j, i)`` on the input's grid, ``(K, J, I)``, float32."""
        return self.conformed.restore(map_[None].float())[0].cpu().numpy()


@dataclass(frozen=True)
class ImageRun:
    """What belongs to the run of one method on one image.

    Args:
        engine: the model and the method.
        target: the image.
        reporter: of progress and events.
        stages: of this image.
    """

    engine: Engine
    target: Target
    reporter: Reporter = field(default_factory=Reporter)
    stages: Stages = field(default_factory=Stages)

    @classmethod
    def read(
        cls, engine: Engine, paths: Sequence[Path], reading: Reading, reporter: Reporter
    ) -> ImageRun:
        """Read an image, conform it, warn of what does not fit, and run the source model on it.

        Raises:
            RequestError: the image cannot be read.
            OutOfMemoryError: the memory cannot hold it.
        """
        stages = Stages()
        reporter("reading", 0, 1)
        image = ImageFile(paths, reading)
        before = image.checksums()
        volume, conformed = read_conformed(engine, image, stages)
        reporter("reading", 1, 1)
        notes = (*volume.notes, *unlike(list(volume.array), engine.model.description))
        for note in notes:
            log.warning("%s: %s", paths[0].name, note)
            reporter.event("warning", image=paths[0].name, text=note)
        probabilities = stages.attempt(
            "source segmentation",
            lambda options: predict(
                engine.model, conformed.array, options, reporter, stage="source model"
            ),
            engine.options,
            engine.model.device,
        )
        labels = engine.model.description.labels
        target = Target(image, before, volume, conformed, probabilities, labels, notes)
        return cls(engine, target, reporter, stages)

    def with_engine(self, engine: Engine) -> ImageRun:
        """The same image for another method, which goes on from the stages done so far."""
        stages = Stages(dict(self.stages.seconds), list(self.stages.notes))
        return replace(self, engine=engine, stages=stages)

    def adapt(self) -> Adapted | None:
        """Adapt weights to the image; None for a method that updates nothing."""
        if not self.engine.method.adapts:
            return None
        return adapt(self.engine, [self.target.conformed], self.stages, self.reporter)

    def segment(self, adapted: Adapted | None) -> Segmented:
        """Segment the image by the method, or with the weights that it gave."""
        engine, target = self.engine, self.target
        if adapted is None:
            return self.attempt(
                "segmentation",
                lambda options: registry.entry(engine.method)(
                    engine.model,
                    target.conformed,
                    target.source_probabilities,
                    options,
                    engine.seed,
                    self.reporter,
                ),
            )
        network = engine.adapted_network(adapted)
        probabilities = self.attempt(
            "segmentation",
            lambda options: predict(
                engine.model,
                target.conformed.array,
                options,
                self.reporter,
                network=network,
                stage="adapted model",
            ),
        )
        return Segmented(probabilities)

    def attempt(self, name: str, work: Callable[[Any], T]) -> T:
        """Do a stage with the engine's options, see ``Stages.attempt``."""
        return self.stages.attempt(name, work, self.engine.options, self.engine.model.device)


def read_conformed(engine: Engine, image: ImageFile, stages: Stages) -> tuple[Volume, Conformed]:
    """Read an image and bring it to the model's grid: all that adaptation needs of it.

    Raises:
        RequestError: the image cannot be read.
        OutOfMemoryError: the memory cannot hold it.
    """
    with stages.stage("reading", engine.options):
        refuse_too_large(image, engine.model, engine.method.judged, engine.probabilities)
        volume = image.read()
        return volume, conform(volume, engine.input_spec)


def adapt(
    engine: Engine, images: Sequence[Conformed], stages: Stages, progress: Progress
) -> Adapted:
    """Adapt weights to images together, by a method that updates weights."""
    cases = engine.cases if needs.LABELS in engine.method.needs else ()
    return stages.attempt(
        "adaptation",
        lambda options: loop.adapt(
            engine.method, engine.model, list(images), options, engine.seed, progress, cases
        ),
        engine.options,
        engine.model.device,
        trains=True,
    )
