"""Carry out a method on images: the steps that run, cohort and compare are made of."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from SFDALib import registry
from SFDALib.bundle import source
from SFDALib.bundle.files import BundleFiles
from SFDALib.bundle.source import Source
from SFDALib.errors import RequestError
from SFDALib.inference import predict
from SFDALib.jobs.exhaustion import as_out_of_memory
from SFDALib.method import Method
from SFDALib.outcome import Adapted, Segmented
from SFDALib.progress import Progress
from SFDALib.uncertainty import entropy
from SFDALib.volume.files import read_volume
from SFDALib.volume.geometry import Volume
from SFDALib.volume.grid import Conformed, conform

LOWER_MEMORY = ("batch", "samples")  # options of methods


@dataclass
class Stopwatch:
    """Seconds of each stage, in the order in which they came."""

    seconds: dict[str, float] = field(default_factory=dict)

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
    """One image: as read, on the model's grid, and as the source model sees it."""

    paths: tuple[Path, ...]
    volume: Volume
    conformed: Conformed
    source_probabilities: Tensor  # (K, k, j, i)

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
        bundle: the bundle's files.
        model: its networks on the device.
        method, options, seed: what to do.
    """

    bundle: BundleFiles
    model: Source
    method: Method
    options: Mapping[str, Any]
    seed: int
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; where it runs out of memory, say which options lower the need."""
        try:
            with self.stopwatch.stage(name):
                yield
        except (MemoryError, RuntimeError) as error:
            remedies = [
                f"lower --option {option}, now {self.options[option]}"
                for option in LOWER_MEMORY
                if option in self.options
            ]
            failure = as_out_of_memory(error, "; ".join(remedies))
            if failure is None:
                raise
            raise failure from error

    def read(self, paths: Sequence[Path], progress: Progress) -> Target:
        """Read an image, conform it, and run the source model on it."""
        with self.stage("reading"):
            volume = read_volume(paths)
            conformed = conform(volume, self.model.description.grid)
        with self.stage("source segmentation"):
            probabilities = predict(
                self.model, conformed.array, dict(self.options), progress, stage="source model"
            )
        return Target(tuple(Path(path) for path in paths), volume, conformed, probabilities)

    def adapt(self, targets: Sequence[Target], progress: Progress) -> Adapted | None:
        """Adapt weights to the images together; None for a method that updates nothing."""
        if not self.method.adapts:
            return None
        with self.stage("adaptation"):
            images = [target.conformed for target in targets]
            return registry.entry(self.method)(
                self.model, images, dict(self.options), self.seed, progress
            )

    def segment(self, target: Target, adapted: Adapted | None, progress: Progress) -> Segmented:
        """Segment one image by the method, or with the weights that it gave."""
        with self.stage("segmentation"):
            if adapted is None:
                return registry.entry(self.method)(
                    self.model,
                    target.conformed,
                    target.source_probabilities,
                    dict(self.options),
                    self.seed,
                    progress,
                )
            probabilities = predict(
                self.model,
                target.conformed.array,
                dict(self.options),
                progress,
                network=self.adapted_network(adapted),
                stage="adapted model",
            )
            return Segmented(probabilities)

    def adapted_network(self, adapted: Adapted) -> nn.Module:
        """A copy of the source network with the adapted weights."""
        network = copy.deepcopy(self.model.network)
        network.load_state_dict(adapted.weights)
        return network

    def write_adapted_bundle(self, folder: Path, adapted: Adapted) -> None:
        """A complete bundle of the adapted weights, to be used without adapting again."""
        description = self.model.description
        provenance = {
            "method": self.method.name,
            "options": dict(self.options),
            "seed": self.seed,
            "best_epoch": adapted.best_epoch,
            "stopped": adapted.stopped,
            "source_bundle_sha256": self.bundle.sha256(),
        }
        described = replace(
            description,
            name=f"{description.name}, adapted by {self.method.title}",
            provenance={**description.provenance, "adaptation": provenance},
        )
        source.write(
            folder,
            described,
            adapted.weights,
            early_head=source.state(self.model.early_head),
            diffusion=source.state(self.model.diffusion),
            documents=self.model.documents,
        )


def open_engine(
    bundle: Path, method: str, options: Mapping[str, Any], device: torch.device, seed: int
) -> Engine:
    """Load a bundle for a method.

    Raises:
        RequestError: the bundle is unusable, or lacks what the method needs.
    """
    chosen = registry.find(method)
    files = BundleFiles(bundle)
    description = files.describe()
    lacking = registry.lacking(
        description.early_head is not None, description.diffusion is not None
    )
    lack = lacking[method]
    if lack:
        usable = [name for name, reason in lacking.items() if reason is None]
        raise RequestError(
            f"{bundle}: method {method} {lack}; with this bundle you can use {', '.join(usable)}"
        )
    torch.manual_seed(seed)
    model = source.load(bundle, device, diffusion=chosen.adapts or "diffusion" in chosen.needs)
    return Engine(files, model, chosen, options, seed)
