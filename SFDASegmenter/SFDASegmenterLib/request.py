"""What the user asks for, and why it cannot be done. Knows neither Qt nor MRML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SFDALib import registry
from SFDALib.errors import RequestError
from SFDALib.jobs.inspect import inspect
from SFDALib.jobs.request import Job


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
        bundle: folder or .zip of the source model.
        method, options, device, seed: as in ``SFDALib.jobs.request.Job``.
        adapt_once: adapt to all images of a cohort together instead of to each by itself.
    """

    images: tuple[Image, ...]
    bundle: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    seed: int = 0
    adapt_once: bool = False

    def refusal(self) -> str | None:
        """Why it cannot be started, in one line that says what to do; None if it can.

        The bundle's own faults are told first: without one the rest cannot be judged.
        """
        if not self.bundle:
            return "Choose a source model."
        try:
            facts = inspect(Path(self.bundle))
            registry.find(self.method).values(self.options)
        except RequestError as error:
            return str(error)
        lack = facts["unavailable"].get(self.method)
        if lack:
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
        if len(self.images) > 1 and any(len(image.nodes) > 1 for image in self.images):
            return "Several volumes with separate channels: run them one by one."
        if self.adapt_once and not registry.find(self.method).adapts:
            return (
                f"{registry.find(self.method).title} updates no weights: there is nothing to adapt"
                " once for all volumes."
            )
        return None

    def typed_options(self) -> dict[str, str]:
        """The options as they are typed on a command line."""
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
        if not self.is_cohort:
            job = Job(
                bundle=self.bundle,
                input=tuple(map(str, files)),
                method=self.method,
                output=str(output),
                options=self.options,
                device=self.device,
                seed=self.seed,
            )
            path = folder / "job.json"
            path.write_text(json.dumps(job.to_dict(), indent=2), encoding="utf-8")
            return ["run", "--job", str(path), "--progress", "json"]
        options = [f"--option={name}={word}" for name, word in self.typed_options().items()]
        return [
            *("cohort", "--bundle", self.bundle, "--method", self.method, *options),
            *("--device", self.device, "--seed", str(self.seed), "--output", str(output)),
            *("--adapt", "once" if self.adapt_once else "each", "--progress", "json"),
            # The files share one folder, in the order of their names: a line of hundreds of
            # names is longer than Windows takes.
            *("--input", str(files[0].parent)),
        ]


def _word(value: Any) -> str:
    """An option's value as it is typed."""
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
