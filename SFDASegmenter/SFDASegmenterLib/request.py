"""What the user asks for, and why it cannot be done. Knows neither Qt nor MRML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SFDALib.errors import RequestError
from SFDALib.jobs import labelled
from SFDALib.jobs.inspect import inspect
from SFDALib.jobs.labelled import Labelled
from SFDALib.jobs.request import Comparison, Job
from SFDALib.methods import registry
from SFDALib.volume.reading import Reading


@dataclass(frozen=True)
class Image:
    """One image of the scene that a run is to segment.

    Args:
        name: as shown.
        nodes: the IDs of its volumes; several are its channels. Empty for a frame.
        channels: how many channels it has.
        frame: (ID of a sequence node, index) for an image that is a frame of a sequence.
    """

    name: str
    nodes: tuple[str, ...]
    channels: int
    frame: tuple[str, int] | None = None


@dataclass(frozen=True)
class Request:
    """One run.

    Args:
        images: one, or several for a cohort.
        bundle: folder or .zip of the source model, whatever made it.
        method, options, device, seed: as in ``SFDALib.jobs.request.Job``.
        adapt_once: adapt to all images of a cohort together instead of to each by itself.
        compared: where several methods are compared, their options; ``method`` is then one of them.
        gate: "on" delivers what the judge advises, "off" always the result; a comparison always
            shows every method's own result.
        labels: files of segmentations that the method learns from, each with its image's files.
        reading: how the files of the volumes are read.
        probabilities: whether those of the classes are written, too.
    """

    images: tuple[Image, ...]
    bundle: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    seed: int = 0
    adapt_once: bool = False
    compared: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    gate: str = "on"
    labels: tuple[Labelled, ...] = ()
    reading: Reading = field(default_factory=Reading)
    probabilities: bool = False

    def refusal(self) -> str | None:
        """Why it cannot be started, in one line that says what to do; None if it can.

        The bundle's own faults are told first: without one the rest cannot be judged.
        """
        if not self.bundle:
            return "Choose a source model."
        try:
            facts = inspect(Path(self.bundle), (labelled.NEED,) if self.labels else ())
            methods = self.compared or {self.method: self.options}
            for method, options in methods.items():
                registry.find(method).values(options)
            if self.labels:
                labelled.check(self.labels, tuple(methods))
        except RequestError as error:
            return str(error)
        lack = facts["unavailable"].get(self.method)
        if lack and not self.compared:
            return f"{registry.find(self.method).title} {lack}."
        if not self.images:
            return "Choose a volume."
        return self._channels_refusal(facts["channels"]) or self._cohort_refusal()

    def _channels_refusal(self, expected: int) -> str | None:
        for image in self.images:
            if image.channels != expected:
                remedy = (
                    "convert it with the module Vector to Scalar Volume"
                    if expected == 1
                    else "choose a volume for each channel"
                )
                return (
                    f"{image.name}: found {image.channels} channel(s), expected {expected} as the"
                    f" source model has; {remedy}."
                )
            if len(set(image.nodes)) < len(image.nodes):
                return f"{image.name}: the same volume is chosen for two channels."
        return None

    def _cohort_refusal(self) -> str | None:
        if self.compared and len(self.images) > 1:
            return "Several volumes: choose one method for them, or compare methods on one volume."
        if len(self.images) > 1 and any(len(image.nodes) > 1 for image in self.images):
            return "Several volumes with separate channels: run them one by one."
        if self.adapt_once and not registry.find(self.method).adapts:
            return (
                f"{registry.find(self.method).title} updates no weights: there is nothing to adapt"
                " once for all volumes."
            )
        return None

    def typed_options(self) -> dict[str, str]:
        """The options as they are typed on a command line; of a comparison every method's own."""
        if self.compared:
            return {
                f"{method}.{name}": _word(value)
                for method, options in self.compared.items()
                for name, value in options.items()
            }
        return {name: _word(value) for name, value in self.options.items()}

    @property
    def is_cohort(self) -> bool:
        """Whether the command is ``cohort``, which writes a folder for every image."""
        return len(self.images) > 1

    def words(self, files: Sequence[Path], folder: Path, output: Path) -> list[str]:
        """The command line that does it.

        Args:
            files: the images' files, or those of the channels of a single image.
            folder: for the job's description.
            output: the result folder, which must not exist.
        """
        common: dict[str, Any] = {
            "bundle": self.bundle,
            "output": str(output),
            "device": self.device,
            "seed": self.seed,
            "labels": self.labels,
            "reading": self.reading,
            "probabilities": self.probabilities,
        }
        if not self.is_cohort:
            inputs = tuple(map(str, files))
            job = (
                Comparison(input=inputs, methods=self.compared, **common)
                if self.compared
                else Job(
                    input=inputs,
                    method=self.method,
                    options=self.options,
                    gate=self.gate,
                    **common,
                )
            )
            path = folder / "job.json"
            path.write_text(json.dumps(job.to_dict(), indent=2), encoding="utf-8")
            command = "compare" if self.compared else "run"
            return [command, "--job", str(path), "--progress", "json"]
        options = [f"--option={name}={word}" for name, word in self.typed_options().items()]
        return [
            *("cohort", "--bundle", self.bundle, "--method", self.method, *options),
            *("--device", self.device, "--seed", str(self.seed), "--output", str(output)),
            *("--adapt", "once" if self.adapt_once else "each", "--progress", "json"),
            *("--gate", self.gate),
            *(("--probabilities",) if self.probabilities else ()),
            *(("--resample-channels",) if self.reading.resample_channels else ()),
            *(word for one in self.labels for word in ("--labels", one.word())),
            # The files share one folder, in the order of their names: a line of hundreds of
            # names is longer than Windows takes.
            *("--input", str(files[0].parent)),
        ]


def _word(value: Any) -> str:
    """An option's value as it is typed."""
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
