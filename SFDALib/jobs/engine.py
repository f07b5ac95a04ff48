"""Carry out a method on images: the steps that run, cohort and compare are made of."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from SFDALib.bundle import assembly, source
from SFDALib.bundle.open_model import open_model
from SFDALib.bundle.source import Source
from SFDALib.bundle.source_model import SourceModel
from SFDALib.errors import OutOfMemoryError, RequestError
from SFDALib.inference.predict import predict
from SFDALib.jobs.cases import read_cases
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.labelled import NEED, Labelled
from SFDALib.jobs.memory_need import refuse_too_large
from SFDALib.machine import devices
from SFDALib.machine.batch_size import one_patch_at_a_time
from SFDALib.machine.out_of_memory import as_out_of_memory
from SFDALib.methods import registry
from SFDALib.methods.method import Method
from SFDALib.methods.outcome import Adapted, Segmented
from SFDALib.progress import Progress
from SFDALib.training.manifest import Case
from SFDALib.trust.fingerprint import unlike
from SFDALib.uncertainty import entropy
from SFDALib.volume.conform import Conformed, conform
from SFDALib.volume.formats import SUFFIXES
from SFDALib.volume.geometry import Volume
from SFDALib.volume.image_file import ImageFile
from SFDALib.volume.reading import Reading

SMALLER = 4  # what a batch is divided by when memory ran out
LOWER_MEMORY = ("batch", "samples")  # options of methods

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Stopwatch:
    """Seconds of each stage, in the order in which they came, and what was unusual about them."""

    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)


@dataclass(frozen=True)
class Target:
    """One image: as read, on the model's grid, and as the source model sees it.

    Args:
        image: its files.
        checksums: SHA-256 of each of them, taken before they were read.
        notes: what was assumed in reading it, and what does not fit the model.
    """

    image: ImageFile
    checksums: Mapping[Path, str]
    volume: Volume
    conformed: Conformed
    source_probabilities: Tensor  # (K, k, j, i)
    notes: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """As the user gave them."""
        return self.image.paths

    @property
    def name(self) -> str:
        """The image's, without the ending of its file."""
        name = self.paths[0].name
        ending = max((s for s in SUFFIXES if name.lower().endswith(s)), key=len, default="")
        return name[: len(name) - len(ending)] or name

    @property
    def source_labels(self) -> np.ndarray:
        """(K, J, I) on the input's grid."""
        return self.conformed.restore_labels(self.source_probabilities)

    @property
    def entropy(self) -> np.ndarray:
        """Entropy of the source's probabilities in bits, (K, J, I) on the input's grid."""
        return self.restored(entropy(self.source_probabilities, "bits"))

    def restored(self, map_: Tensor) -> np.ndarray:
        """A map (k, j, i) on the input's grid, float32."""
        return self.conformed.restore(map_[None].float())[0].cpu().numpy()


@dataclass(frozen=True)
class Engine:
    """A loaded bundle, a method with its options, and the device.

    Args:
        bundle: what the networks come from.
        bundle_sha256: its checksum before it was read.
        model: its networks on the device.
        method, options, seed: what to do.
        cases: images with segmentations that the method learns from.
        learned_from: SHA-256 of their files, taken before they were read.
        probabilities: whether those of the classes are delivered, too.
    """

    bundle: SourceModel
    bundle_sha256: str
    model: Source
    method: Method
    options: Mapping[str, Any]
    seed: int
    cases: tuple[Case, ...] = ()
    learned_from: Mapping[Path, str] = field(default_factory=dict)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    probabilities: bool = False

    @contextmanager
    def stage(self, name: str, options: Mapping[str, Any] | None = None) -> Iterator[None]:
        """Time a stage; where it runs out of memory, say which options lower the need.

        Args:
            options: those that it is done with, if not all are as asked for.
        """
        options = self.options if options is None else options
        try:
            with self.stopwatch.stage(name):
                yield
        except (MemoryError, RuntimeError) as error:
            remedies = [
                f"lower --option {option}, now {options[option]}"
                if options[option] > 1
                else f"not even --option {option}=1 fits"
                for option in LOWER_MEMORY
                if option in options
            ]
            failure = as_out_of_memory(error, "; ".join(remedies))
            if failure is None:
                raise
            raise failure from error

    def attempt(self, name: str, work: Callable[[dict[str, Any]], T], trains: bool = False) -> T:
        """Do a stage with the options; where memory runs out, again with patches one by one.

        Args:
            trains: whether it works in batches of the option's size, which then become smaller and
                smaller: patches of which one fits may not fit by the six.

        Raises:
            OutOfMemoryError: it ran out with the smallest, too.
        """
        shrinks = trains and "batch" in self.options
        tries = [dict(self.options)]
        while shrinks and tries[-1]["batch"] > 1:
            tries.append({**self.options, "batch": max(1, tries[-1]["batch"] // SMALLER)})
        if len(tries) == 1:
            tries.append(dict(self.options))
        for number, options in enumerate(tries):
            try:
                with self.stage(name, options), one_patch_at_a_time() if number else nullcontext():
                    done = work(options)
                break
            except OutOfMemoryError as error:
                if options is tries[-1]:
                    raise
                log.warning("%s", str(error))  # the error itself holds the tensors of its frames
            # not where it is caught: the exception still holds what the attempt had in memory
            devices.release(self.model.device)
        if number:
            note = f"Memory ran out during {name}; it was done again with patches one by one"
            if shrinks:
                note += f" and --option batch={options['batch']}"
            self.stopwatch.notes.append(f"{note}.")
        return done

    def conform(self, image: ImageFile) -> tuple[Volume, Conformed]:
        """Read an image, and bring it to the model's grid: all that adaptation wants of it."""
        with self.stage("reading"):
            refuse_too_large(image, self.model, self.method.judged, self.probabilities)
            volume = image.read()
            return volume, conform(volume, self.model.description.input_spec)

    def learning_from(self, labelled: Sequence[Labelled], reading: Reading) -> Engine:
        """The same with what its method learns from; a method that needs no labels gets none.

        Raises:
            RequestError: labels that do not fit their image or the model.
        """
        if NEED not in self.method.needs:
            return self
        files = [Path(file) for one in labelled for file in (*one.image, one.labels)]
        learned_from = {k: v for file in files for k, v in ImageFile(file).checksums().items()}
        cases = read_cases(labelled, reading, self.model)
        return replace(self, cases=cases, learned_from=learned_from)

    def read(
        self, paths: Sequence[Path], progress: Reporter, reading: Reading | None = None
    ) -> Target:
        """Read an image, conform it, say what does not fit, and run the source model on it."""
        progress("reading", 0, 1)
        image = ImageFile(paths, reading)
        before = image.checksums()
        volume, conformed = self.conform(image)
        progress("reading", 1, 1)
        notes = (*volume.notes, *unlike(volume.array, self.model.description))
        for note in notes:
            log.warning("%s: %s", image.paths[0].name, note)
            progress.event("warning", image=image.paths[0].name, text=note)
        probabilities = self.attempt(
            "source segmentation",
            lambda options: predict(
                self.model, conformed.array, options, progress, stage="source model"
            ),
        )
        return Target(image, before, volume, conformed, probabilities, notes)

    def adapt(self, images: Sequence[Conformed], progress: Progress) -> Adapted | None:
        """Adapt weights to the images together; None for a method that updates nothing."""
        if not self.method.adapts:
            return None
        more = (self.cases,) if NEED in self.method.needs else ()
        return self.attempt(
            "adaptation",
            lambda options: registry.entry(self.method)(
                self.model, list(images), options, self.seed, progress, *more
            ),
            trains=True,
        )

    def segment(self, target: Target, adapted: Adapted | None, progress: Progress) -> Segmented:
        """Segment one image by the method, or with the weights that it gave."""
        if adapted is None:
            return self.attempt(
                "segmentation",
                lambda options: registry.entry(self.method)(
                    self.model,
                    target.conformed,
                    target.source_probabilities,
                    options,
                    self.seed,
                    progress,
                ),
            )
        network = self.adapted_network(adapted)
        probabilities = self.attempt(
            "segmentation",
            lambda options: predict(
                self.model,
                target.conformed.array,
                options,
                progress,
                network=network,
                stage="adapted model",
            ),
        )
        return Segmented(probabilities)

    def adapted_network(self, adapted: Adapted) -> nn.Module:
        """A copy of the source network, or several together, with the adapted weights."""
        copies = [copy.deepcopy(self.model.network) for _ in range(adapted.members)]
        network = assembly.ensemble_of(copies)
        network.load_state_dict(adapted.weights)
        return network

    def write_adapted_bundle(self, folder: Path, adapted: Adapted) -> None:
        """A complete bundle of the adapted weights, to be used without adapting again.

        Several sets of weights make an ensemble, which has no early features of its own.
        """
        description = self.model.description
        alone = adapted.members == 1
        provenance = {
            "method": self.method.name,
            "options": dict(self.options),
            "seed": self.seed,
            "best_epoch": adapted.best_epoch,
            "stopped": adapted.stopped,
            "source_bundle_sha256": self.bundle_sha256,
        }
        described = replace(
            description,
            name=f"{description.name}, adapted by {self.method.title}",
            ensemble=description.ensemble * adapted.members,
            early_head=description.early_head if alone else None,
            provenance={**description.provenance, "adaptation": provenance},
        )
        source.write(
            folder,
            described,
            adapted.weights,
            early_head=source.state(self.model.early_head) if alone else None,
            diffusion=source.state(self.model.diffusion),
            documents=self.model.documents,
        )


def open_engine(
    bundle: Path,
    method: str,
    options: Mapping[str, Any],
    device: torch.device,
    seed: int,
) -> Engine:
    """Load a bundle for a method.

    Raises:
        RequestError: the bundle is unusable, or lacks what the method needs.
    """
    return open_engines(bundle, {method: options}, device, seed)[method]


def open_engines(
    bundle: Path,
    methods: Mapping[str, Mapping[str, Any]],
    device: torch.device,
    seed: int,
) -> dict[str, Engine]:
    """Load a bundle once for several methods, given with their options; they share its networks.

    Whether labels are given to a method that needs them is the request's own check.

    Raises:
        RequestError: the bundle is unusable, or lacks what a method needs.
    """
    chosen = {name: registry.find(name) for name in methods}
    opened = open_model(bundle)
    lacking = registry.lacking({*opened.describe().holds, NEED})
    for name in methods:
        if lacking[name]:
            usable = [other for other, reason in lacking.items() if reason is None]
            raise RequestError(
                f"{bundle}: method {name} {lacking[name]}; with this bundle you can use"
                f" {', '.join(usable)}"
            )
    torch.manual_seed(seed)
    wanted = any(method.adapts or "diffusion" in method.needs for method in chosen.values())
    before = opened.sha256()
    model = opened.load(device, diffusion=wanted)
    return {
        name: Engine(opened, before, model, method, methods[name], seed)
        for name, method in chosen.items()
    }
