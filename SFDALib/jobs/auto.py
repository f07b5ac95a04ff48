"""The automatic choice: try methods on an image, and deliver the best result by the judge.

The methods that the source model can serve run one after the other, the most useful first, each in
a result folder of its own, as in a comparison. The search ends when a result that is better than
the source model's is confirmed by another one, when no method fits into the time that is left, or
when all have been tried. Of the results that the judge finds better, the one that is least likely
to be worse is delivered, of equally likely ones the first; without such a result the source's.

Which methods are tried depends on the time they take, so that two runs may choose differently. The
report names method and options, with which ``run`` gives the same result again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from SFDALib.jobs.engine import Engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.failures import Failures
from SFDALib.jobs.image_run import ImageRun
from SFDALib.jobs.judgement import adopted, choice, foremost, judge_among, without_verdict
from SFDALib.jobs.run import deliver
from SFDALib.jobs.time_limit import Deadline, Forecast
from SFDALib.jobs.tried import Tried
from SFDALib.methods import registry
from SFDALib.results import layout
from SFDALib.results.report import write_report
from SFDALib.trust.levels import LEVELS

STAGE = "auto"  # names the method that is tried
SURE = 0.2  # a better result is confirmed if its chance of harm is at most this
AGREES = 0.9  # and its mean Dice with another better one is at least this
TIE = 0.01  # chances of harm that differ by no more tell nothing: the measured order decides

Trusts = Mapping[str, Mapping[str, Any] | None]  # the field "trust" of each method's report


def deliver_best(
    image: ImageRun, folder: Path, gate: str, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Try the methods that the model can serve, and write the best result.

    Args:
        image: segmented by the source model; its engine's options have the time limit.
        folder: the result folder, which exists. The results of the other methods are put into
            ``layout.TRIED`` in it, whatever the gate is.
        gate: "on" delivers the source model's result if none is better, "off" then the one that
            comes closest.
        extra: further fields of the report.

    Returns:
        The content of report.json: of a run of the chosen method, with a field "auto".
    """
    others = folder / layout.TRIED.name
    search = _Search.over(image, others)
    search.run()
    closest = _closest(search.trusts)
    chosen = best(search.trusts) or (closest if gate == "off" else None)
    why = _why(search, chosen, closest)
    trust: Mapping[str, Any] | None
    about = {"chosen": chosen or registry.REFERENCE, "why": why, **search.facts(chosen)}
    if chosen is None:
        reference = image.engine.serving(registry.find(registry.REFERENCE))
        report = deliver(image.with_engine(reference), folder, gate="off")
        trust = _undelivered(search.trusts[closest]) if closest else None
    else:
        for entry in (others / chosen).iterdir():
            entry.rename(folder / entry.name)
        (others / chosen).rmdir()
        report, trust = search.tried.reports[chosen], search.trusts[chosen]
    if not any(others.iterdir()):
        others.rmdir()
    told = [f"Automatic choice: {one}." for one in (why, *search.notes(chosen))]
    notes = [*without_verdict(report["notes"]), *told]
    written = layout.written(folder)
    report |= {**extra, "auto": about, "trust": trust, "notes": notes, "files_written": written}
    write_report(folder / layout.REPORT.name, report)
    return report


@dataclass
class _Search:
    """Methods that are tried on an image.

    Args:
        tried: results so far.
        forecast: of the seconds of the other methods.
        deadline: ends a method at the time limit.
        engines: the methods, in the order in which they are tried.
        trusts: of the methods that worked.
        enough: why no further method is needed; empty if more may help.
        unneeded: the methods that were left out because of that.
        no_time: the methods that did not fit into the time that was left, with that and the
            expected seconds.
    """

    tried: Tried
    forecast: Forecast
    deadline: Deadline
    engines: Mapping[str, Engine]
    trusts: Trusts = field(default_factory=dict)
    enough: str = ""
    unneeded: list[str] = field(default_factory=list)
    no_time: dict[str, str] = field(default_factory=dict)

    @classmethod
    def over(cls, image: ImageRun, folder: Path) -> _Search:
        """The methods that the model can serve; the time before counts as used.

        Args:
            folder: of their results; is made.
        """
        limit, used = image.engine.time_limit, sum(image.stages.seconds.values())
        deadline = Deadline(image.reporter, limit, limit - used)
        folder.mkdir()
        # with a reporter that is silent: a method that cannot be used is no failure of the run
        tried = Tried(replace(image, reporter=deadline), folder, Failures(Reporter()))
        engines = {engine.method.name: engine for engine in image.engine.tries()}
        return cls(tried, Forecast(image), deadline, engines)

    def run(self) -> None:
        """Try method after method, until a better result is confirmed or no time is left."""
        total = len(self.engines)
        for index, (name, engine) in enumerate(self.engines.items()):
            expected, left = self.forecast.seconds(engine), self.deadline.left
            if self.enough:
                self.unneeded.append(name)
            elif expected > left:
                self.no_time[name] = f"it needs about {expected:.0f} s, {left:.0f} s were left"
            else:
                self.deadline.reporter(STAGE, index, total, method=name)
                self._try(engine)
        self.deadline.reporter(STAGE, total, total)

    def _try(self, engine: Engine) -> None:
        start = monotonic()
        self.tried.run(engine)
        self.forecast.learn(engine, monotonic() - start)
        if not self.tried.maps:
            return
        dice = self.tried.dice()
        self.trusts = self.tried.trusts(dice)
        first = best(self.trusts)
        if first is None or _harm(self.trusts, first) > SURE:
            return
        for other in better(self.trusts):
            if other != first and dice.between(first, other) >= AGREES:
                self.enough = (
                    f"the results of {self.title(first)} and {self.title(other)} are better than"
                    f" the source model's and agree (Dice {dice.between(first, other):.2f})"
                )

    def facts(self, chosen: str | None) -> dict[str, Any]:
        """The report's "auto" on what was tried and what was not.

        Args:
            chosen: the method whose result is delivered; None if the source model's is.
        """
        left_out = {
            **self.no_time,
            **{name: f"not needed: {self.enough}" for name in self.unneeded},
        }
        rows = [
            self.tried.row(engine, self.trusts.get(name))
            for name, engine in self.engines.items()
            if name not in left_out
        ]
        for row in rows:
            if row["folder"] is not None:
                here = row["method"] == chosen
                row["folder"] = "." if here else f"{layout.TRIED.name}/{row['folder']}"
        return {
            "time_limit": self.deadline.limit,
            "seconds": round(self.deadline.limit - self.deadline.left, 3),
            "tried": rows,
            "left_out": [
                {"method": name, "title": self.title(name), "why": why}
                for name, why in left_out.items()
            ],
        }

    def notes(self, chosen: str | None) -> list[str]:
        """What else was tried and what was not: sentences without their full stops."""
        tried = "; ".join(
            f'{self.title(name)}, with the verdict "{LEVELS[trust["decision"]].meaning}"'
            for name, trust in self.trusts.items()
            if trust and name != chosen
        )
        notes = [f"also tried: {tried}"] if tried else []
        for name, line in self.tried.failures.messages.items():
            notes.append(f"{self.title(name)} failed: {line}")
        if self.unneeded:
            titles = ", ".join(map(self.title, self.unneeded))
            notes.append(f"not tried: {titles}, because {self.enough}")
        if self.no_time:
            titles = ", ".join(map(self.title, self.no_time))
            notes.append(f"not tried within {self.deadline.limit:g} s, the time limit: {titles}")
        return notes

    def title(self, name: str) -> str:
        """The method as shown."""
        return self.engines[name].method.title


def best(trusts: Trusts) -> str | None:
    """The method whose result is delivered; None if none may be.

    That of ``judgement.choice``, or the first in the measured order whose level is the same and
    whose chance of harm is higher by at most ``TIE``.
    """
    least, deliverable = choice(trusts), adopted(trusts)
    if least is None:
        return None
    level, harm = deliverable[least]["decision"], deliverable[least]["harm"]
    return next(
        name
        for name, trust in deliverable.items()
        if trust["decision"] == level and trust["harm"] <= harm + TIE
    )


def better(trusts: Trusts) -> list[str]:
    """The methods whose results may be delivered."""
    return list(adopted(trusts))


def _harm(trusts: Trusts, name: str) -> float:
    """The chance that a method's result is worse than the source model's."""
    trust = trusts[name]
    return 1.0 if trust is None else trust["harm"]


def _closest(trusts: Trusts) -> str | None:
    """The method with the best level, and of that the least chance of harm.

    None if no result differs from the source model's.
    """
    return foremost(
        {name: one for name, one in trusts.items() if one and one["signals"]["agreement"] < 1}
    )


def _undelivered(trust: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The verdict on a result in whose place the source model's is delivered."""
    if trust is None:
        return None
    return judge_among({**trust, "delivered": "source"}, trust["signals"]["others"])


def _why(search: _Search, chosen: str | None, closest: str | None) -> str:
    """Why this result is delivered, in one sentence.

    Args:
        chosen: the method whose result is delivered; None if the source model's is.
        closest: the best method, though its result may not be better than the source model's.
    """
    good, count = len(better(search.trusts)), len(search.trusts)
    none = "the only result is not" if count == 1 else f"none of {count} results is"
    none += " clearly better than the source model's"
    if chosen is not None:
        title, harm = search.title(chosen), f"{100 * _harm(search.trusts, chosen):.0f} %"
        if not good:
            return (
                f"{title} is delivered because the gate is off, although {none}; it comes closest"
                f" (chance of being worse {harm})"
            )
        if good == 1:
            alone = f", as the only one of {count}" if count > 1 else ""
            return (
                f"{title} is delivered because its result is better than the source model's{alone}"
                f" (chance of being worse {harm})"
            )
        return (
            f"{title} is delivered because {good} of {count} results are better than the source"
            " model's, and of these its own has the best verdict and, to within"
            f" {100 * TIE:.0f} %, the lowest chance of being worse ({harm})"
        )
    if closest is not None:
        reason = f"{none}; the verdict is on the result of {search.title(closest)}"
        reason += ", which comes closest" if count > 1 else ""
    elif count:
        reason = "no result differs from it"
    elif search.tried.failures.messages:
        reason = "no method worked"
    else:
        reason = f"no method fits into the time limit of {search.deadline.limit:g} s; raise it"
    return f"the source model's segmentation is delivered because {reason}"
