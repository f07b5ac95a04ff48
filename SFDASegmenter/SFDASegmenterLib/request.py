"""What the user asks for, and why it cannot be run. Knows neither Qt nor MRML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SFDALib.bundle import typed_volumes
from SFDALib.errors import RequestError
from SFDALib.jobs import labelled
from SFDALib.jobs.inspect import inspect
from SFDALib.jobs.labelled import Labelled
from SFDALib.jobs.request import ONCE, OPEN, Comparison, Job
from SFDALib.methods import needs, registry
from SFDALib.methods.option import RECOMMENDED, word
from SFDALib.volume.reading import Reading
from SFDASegmenterLib.i18n import tr as _


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
    """What one run is to do.

    Args:
        images: one, or several for a cohort.
        bundle: folder or .zip of the source model, whatever made it.
        method, options, device, seed: as in ``SFDALib.jobs.request.Job``.
        adapt: how several images are adapted to, as in ``SFDALib.jobs.request.Cohort``.
        compared: where several methods are compared, their options; ``method`` is then one of them.
        gate: "on" delivers what the judge advises, "off" always the result; a comparison always
            shows every method's own result.
        labels: files of segmentations that the method learns from, each with its image's files.
        reading: how the files of the volumes are read.
        probabilities: whether those of the classes are written, too.
        preset: of the options that are not given, as in a ``Job``.
        postprocess: as in ``SFDALib.jobs.request.Job``.
        volumes: plausible ones, as they are typed on the command line.
    """

    images: tuple[Image, ...]
    bundle: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    seed: int = 0
    adapt: str = OPEN
    compared: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    gate: str = "on"
    labels: tuple[Labelled, ...] = ()
    reading: Reading = field(default_factory=Reading)
    probabilities: bool = False
    preset: str = RECOMMENDED
    postprocess: str = "bundle"
    volumes: str = ""

    def refusal(self) -> str | None:
        """Why it cannot be started, in one line that says what to do; None if it can.

        Faults of the source model come first, as everything else is checked against it.
        """
        if not self.bundle:
            return _("Choose a source model.")
        try:
            facts = inspect(Path(self.bundle), (needs.LABELS,) if self.labels else ())
            methods = self.compared or {self.method: self.options}
            for method, options in methods.items():
                registry.find(method).values(options, self.preset)
            if self.labels:
                labelled.check(self.labels, tuple(methods))
            names = [label["name"] for label in facts["labels"]]
            typed_volumes.matched(typed_volumes.parse(self.volumes), names)
        except RequestError as error:
            return str(error)
        lack = facts["unavailable"].get(self.method)
        if lack and not self.compared:
            return _("{method} {reason}.").format(
                method=registry.find(self.method).title, reason=lack
            )
        if not self.images:
            return _("Choose a volume.")
        return self._channels_refusal(facts["channels"]) or self._cohort_refusal()

    def _channels_refusal(self, expected: int) -> str | None:
        for image in self.images:
            if image.channels != expected:
                text = (
                    _(
                        "{image}: found {found} channel(s), expected {expected} for this source"
                        " model; convert it with the module Vector to Scalar Volume."
                    )
                    if expected == 1
                    else _(
                        "{image}: found {found} channel(s), expected {expected} for this source"
                        " model; choose a volume for each channel."
                    )
                )
                return text.format(image=image.name, found=image.channels, expected=expected)
            if len(set(image.nodes)) < len(image.nodes):
                text = _(
                    "{image}: found the same volume for two channels, expected a different one for"
                    " each; choose another."
                )
                return text.format(image=image.name)
        return None

    def _cohort_refusal(self) -> str | None:
        if self.compared and len(self.images) > 1:
            return _(
                "Several volumes: choose one method for them, or compare methods on one volume."
            )
        if len(self.images) > 1 and any(len(image.nodes) > 1 for image in self.images):
            return _("Several volumes with separate channels: run them one by one.")
        method = registry.find(self.method)
        if self.is_cohort and self.adapt == ONCE and not method.can_adapt_once:
            return _(
                "{method} updates no weights, so it cannot adapt once to all volumes; choose a"
                " method that adapts the model, or choose automatic adaptation."
            ).format(method=method.title)
        return None

    def typed_options(self) -> dict[str, str]:
        """The options as they are typed on a command line; of a comparison every method's own."""
        if self.compared:
            return {
                f"{method}.{name}": word(value)
                for method, options in self.compared.items()
                for name, value in options.items()
            }
        return {name: word(value) for name, value in self.options.items()}

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
            "preset": self.preset,
            "postprocess": self.postprocess,
            "volumes": typed_volumes.parse(self.volumes),
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
        options = [f"--option={name}={text}" for name, text in self.typed_options().items()]
        return [
            *("cohort", "--bundle", self.bundle, "--method", self.method),
            *("--preset", self.preset, *options),
            *("--device", self.device, "--seed", str(self.seed), "--output", str(output)),
            *("--adapt", self.adapt, "--progress", "json"),
            *("--gate", self.gate, "--postprocess", self.postprocess),
            *((f"--volumes={self.volumes}",) if self.volumes.strip() else ()),
            *(("--probabilities",) if self.probabilities else ()),
            *(("--resample-channels",) if self.reading.resample_channels else ()),
            *(word for one in self.labels for word in ("--labels", one.word())),
            # The files share one folder, in the order of their names: a line of hundreds of
            # names is longer than Windows takes.
            *("--input", str(files[0].parent)),
        ]
