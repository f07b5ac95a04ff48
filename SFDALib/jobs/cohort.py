"""Run one method on many images: each by itself, or adapt once on all and apply to each."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SFDALib.errors import Cancelled, RequestError
from SFDALib.jobs import cohort_adapt
from SFDALib.jobs.adapted_bundle import write_adapted_bundle
from SFDALib.jobs.cohort_choice import Images, choose
from SFDALib.jobs.cohort_images import images_in, names_of
from SFDALib.jobs.cohort_verdict import Waiting, settle, waits
from SFDALib.jobs.engine import Engine, engines_of
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.failures import Failures
from SFDALib.jobs.image_run import ImageRun, adapt, read_conformed
from SFDALib.jobs.labelled import matched
from SFDALib.jobs.request import ONCE, OPEN, Cohort
from SFDALib.jobs.run import deliver
from SFDALib.jobs.stages import Stages
from SFDALib.methods import registry
from SFDALib.methods.outcome import Adapted
from SFDALib.results import layout
from SFDALib.results.folder import DiskError, ResultFolder
from SFDALib.results.report import write_report
from SFDALib.volume.image_file import ImageFile

log = logging.getLogger(__name__)


def run_cohort(cohort: Cohort, reporter: Reporter) -> dict[str, Any]:
    """Carry a cohort out.

    An image that cannot be used is reported in cohort.json and does not stop the others; a bug
    does. Where the run is cancelled, or the disk is full, the images that are done are kept and
    judged together, and cohort.json says so.

    Args:
        cohort: checked, see ``Cohort.checked``.
        reporter: of progress and events.

    Returns:
        The content of cohort.json.

    Raises:
        RequestError: the request is unusable for every image, or the disk refuses the results.
        Cancelled: by the user or the system.
    """
    output = Path(cohort.output).resolve()
    early: Cancelled | DiskError | None = None
    with ResultFolder(cohort.output) as folder:
        reporter.event("started", job=cohort.to_dict())
        running = _open(cohort, folder, reporter)
        try:
            running.run()
        except (Cancelled, DiskError) as error:
            early = error
        done = running.done()
        if not done:
            if early is not None:
                raise early
            raise RequestError(
                f"cohort: none of {len(running.images)} image(s) worked; {running.failures.first}"
            )
        trust = settle(folder, done, running.waiting, cohort.gate)
        summary = running.summary(done, trust, early)
        write_report(folder / layout.COHORT.name, summary)
    if early is not None:
        kind = Cancelled if isinstance(early, Cancelled) else RequestError
        raise kind(
            f"{_why(early)}; {len(done)} of {len(running.images)} images are done, in {output}"
        )
    if cohort.adapt == OPEN:
        log.info("%s", running.adapted_in_words)
    if trust is not None:
        log.info("%s", trust["sentence"])
    reporter.event("result", output=str(output), done=len(done))
    return summary


@dataclass
class _Running:
    """A cohort that is carried out.

    Args:
        cohort, engine, reporter: what to do.
        adapt: ``ONCE`` or ``EACH``.
        why: the reason for that, in words.
        images: the files of each image, by the name of its folder.
        folder: of the whole result.
        failures: of images.
        stages: of the adaptation to all images.
        reports: of the images that are done.
        waiting: those of them that are judged together.
        auto: what the automatic choice tried; None with another method, or if it chooses for every
            image by itself.
    """

    cohort: Cohort
    engine: Engine
    adapt: str
    why: str
    images: Mapping[str, tuple[Path, ...]]
    folder: Path
    reporter: Reporter
    failures: Failures
    stages: Stages = field(default_factory=Stages)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    waiting: dict[str, Waiting] = field(default_factory=dict)
    auto: dict[str, Any] | None = None

    def run(self) -> None:
        """Run every image; nothing if it was to be adapted to all and none could be read."""
        if self.cohort.adapt == OPEN:
            log.info("%s", self.adapted_in_words)
        shared = self._adapt_once() if self.adapt == ONCE else None
        for index, (name, files) in enumerate(self.images.items()):
            self.reporter("cohort", index, len(self.images), image=files[0].name)
            if name not in self.failures.messages:
                with self.failures.recorded(name, image=files[0].name):
                    self._run_image(name, files, shared)
        self.reporter("cohort", len(self.images), len(self.images))

    def _adapt_once(self) -> Adapted | None:
        """Adapt to all images that can be read, and write the adapted bundle; None without one."""
        conformed = {}  # the source model segments the images later, one by one
        for name, files in self.images.items():
            with self.failures.recorded(name, image=files[0].name):
                image = ImageFile(files, self.cohort.reading)
                conformed[files] = read_conformed(self.engine, image, self.stages)[1]
        if not conformed:
            return None
        if self.engine.method.chooses:
            with self.stages.stage("choosing the method", self.engine.options):
                images = Images([*conformed], [*conformed.values()], self.cohort.reading)
                best, self.auto = choose(self.engine, images, self.reporter)
            if best is None:
                self.engine = self.engine.serving(registry.find(registry.REFERENCE))
                return None
            self.engine, shared = best.engine, best.adapted
        else:
            shared = adapt(self.engine, [*conformed.values()], self.stages, self.reporter)
        write_adapted_bundle(self.folder / layout.ADAPTED_BUNDLE.name, self.engine, shared)
        return shared

    def _run_image(self, name: str, files: tuple[Path, ...], shared: Adapted | None) -> None:
        image = ImageRun.read(self.engine, files, self.cohort.reading, self.reporter)
        if shared is not None:
            image.stages.notes.append(self.adapted_in_words)
        gate = "off" if waits(image) else self.cohort.gate
        with ResultFolder(self.folder / name) as inside:
            extra = {"cohort": self.adapt}
            self.reports[name] = deliver(image, inside, gate, shared, extra)
            if waits(image):
                self.waiting[name] = Waiting.written(inside, self.folder / name, image)

    @property
    def adapted_in_words(self) -> str:
        """How the cohort is adapted and why, in one sentence."""
        return f"Adapted {cohort_adapt.IN_WORDS[self.adapt]}: {self.why}."

    def done(self) -> dict[str, dict[str, Any]]:
        """The reports of the images whose folder is complete; the last may have been interrupted
        while it was written.
        """
        return {name: report for name, report in self.reports.items() if self._is_complete(name)}

    def _is_complete(self, name: str) -> bool:
        return (self.folder / name).is_dir()

    def summary(
        self,
        done: Mapping[str, dict[str, Any]],
        trust: dict[str, Any] | None,
        early: Cancelled | DiskError | None,
    ) -> dict[str, Any]:
        """The content of cohort.json."""
        return {
            "method": self.cohort.method,
            "adapted": self.adapt,
            "adapted_because": self.why,
            "preset": registry.find(self.cohort.method).preset_of(self.cohort.options),
            "options": dict(self.cohort.options),
            "seed": self.cohort.seed,
            "done": len(done),
            "failed": len(self.failures.messages),
            "ended_early": early and _why(early),
            "auto": self.auto,
            "trust": trust,
            "images": [
                {
                    "image": files[0].name,
                    "folder": name if name in done else None,
                    "error": self.failures.messages.get(name),
                    "volumes": done.get(name, {}).get("volumes", []),
                    "trust": _in_short(done.get(name, {}).get("trust")),
                }
                for name, files in self.images.items()
            ],
            "seconds": dict(self.stages.seconds),
        }


def _open(cohort: Cohort, folder: Path, reporter: Reporter) -> _Running:
    """Load the model and find the images."""
    engine = engines_of(cohort, {cohort.method: cohort.options})[cohort.method]
    found = images_in(cohort.input, engine.model.description.input_spec.channels)
    taken = {file.name for file in layout.COHORT_FOLDER}
    names = names_of([name for name, _ in found], taken)
    images = {name: files for name, (_, files) in zip(names, found, strict=True)}
    labelled = matched(cohort.labels, [[str(file) for file in files] for files in images.values()])
    engine = engine.learning_from(labelled, cohort.reading)
    adapt, why = cohort_adapt.decide(cohort.adapt, engine, images.values(), cohort.reading)
    return _Running(cohort, engine, adapt, why, images, folder, reporter, Failures(reporter))


def _why(early: Cancelled | DiskError) -> str:
    return "cancelled" if isinstance(early, Cancelled) else early.reason


def _in_short(trust: dict[str, Any] | None) -> dict[str, Any] | None:
    """The verdict without its reasons, which the image's own report has."""
    return trust and {name: trust[name] for name in ("decision", "delivered", "sentence")}
