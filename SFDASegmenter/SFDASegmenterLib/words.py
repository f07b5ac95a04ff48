"""Numbers, models and verdicts as the texts that the panel shows. Knows neither Qt nor MRML."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from SFDALib.jobs.request import EACH, ONCE, OPEN
from SFDALib.methods import registry
from SFDALib.methods.method import CUSTOM, Method
from SFDALib.methods.option import PUBLISHED, RECOMMENDED
from SFDALib.trust.cohort import LEAST_IMAGES
from SFDALib.trust.levels import LEVELS
from SFDASegmenterLib.i18n import tr as _
from SFDASegmenterLib.request import Request
from SFDASegmenterLib.worker import Progress

LARGEST_SHARE = 1000  # per cent
PRESETS = {RECOMMENDED: _("Recommended"), PUBLISHED: _("Published"), CUSTOM: _("Custom")}
ADAPT = {
    OPEN: _("Adaptation: automatic"),
    EACH: _("Adaptation: one by one"),
    ONCE: _("Adaptation: once to all"),
}
ADAPT_HELP = _(
    "One by one: the model is adapted to each volume by itself. Once to all: it is adapted to all"
    " volumes together, then segments each. Automatic: once to all if these are {count} or more"
    " single slices, such as pictures or frames, and the method adapts the model; else one by one."
    " The reason is that single slices can only be judged together, volumes one by one."
).format(count=LEAST_IMAGES)


@dataclass(frozen=True)
class Verdict:
    """What a run reports about its result.

    Args:
        colour: "green", "amber", "grey" or "red"; grey, too, where there is nothing to judge.
        line: one sentence: what was found, and what to do.
        reasons: the judge's reasons, then the run's other notes.
    """

    colour: str
    line: str
    reasons: tuple[str, ...]


class Run(Protocol):
    """A run that has ended, see ``runs.Run``.

    Args:
        request: what was asked for.
        failures: the message of each image or compared method that failed.
    """

    request: Request
    failures: dict[str, str]


def ml(value: float) -> str:
    """A volume in ml: whole from 100 ml on, else with three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def change(before: float, after: float) -> str:
    """A change of volume in ml, and in per cent up to ``LARGEST_SHARE``."""
    share = 100 * (after - before) / before if before > 0 else math.inf
    per_cent = f" ({share:+.0f} %)" if abs(share) <= LARGEST_SHARE else ""
    sign = "+" if after > before else "-" if after < before else ""
    return f"{sign}{ml(abs(after - before))}{per_cent}".replace("-", "\u2212")


def duration(seconds: float) -> str:
    """A time, rounded: seconds by five, minutes, or hours."""
    if seconds < 60:
        return f"{max(5, round(seconds / 5) * 5)} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def device(title: str) -> str:
    """A device as a line of text begins with it, from its title such as "cpu (8 threads)"."""
    name = title.partition(" (")[0]
    return _("CPU") if name == "cpu" else _("GPU ({name})").format(name=name)


def expected_time(seconds: float, adapted: str, request: Request) -> str:
    """The expected time of a request; of a method that chooses, a limit: it may well end earlier.

    Args:
        seconds: for all images, as ``estimate`` tells with the request's ``adapt``.
        adapted: ``EACH`` or ``ONCE``, from ``estimate``, too.
        request: what is to be done.
    """
    limited = registry.find(request.method).chooses and not request.compared
    text = _("at most {time}") if limited else _("about {time}")
    text = text.format(time=duration(seconds))
    images = len(request.images)
    if images > 1:
        text += _(" for {count} volumes").format(count=images)
        if adapted == ONCE:
            return text + _(" together")
        text += _(" ({time} each)").format(time=duration(seconds / images))
    return text


def memory(megabytes: float) -> str:
    """An amount of memory in MB, or from 1024 MB on in GB."""
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"


def progress(now: Progress) -> str:
    """The stage, its step and the time left."""
    parts = [sentence(now.stage)]
    if now.total > 1:
        parts.append(_("step {step} of {total}").format(step=now.step, total=now.total))
    if now.seconds_left:
        left = duration(now.seconds_left)
        parts.append(_("about {time} left in this stage").format(time=left))
    return (f"{now.image}: " if now.image else "") + ", ".join(parts)


def bundle(facts: Mapping[str, Any]) -> str:
    """The name and the structures of a source model, as rich text."""
    labels = ", ".join(
        f'<span style="color: rgb({r},{g},{b})">\u25a0</span>\u00a0{html.escape(label["name"])}'
        for label in facts["labels"]
        for r, g, b in [label["color"]]
    )
    return f"{html.escape(facts['name'])}: {labels}"


def bundle_details(facts: Mapping[str, Any]) -> str:
    """Origin, training images, dimensions and spacing of a source model, as rich text."""
    count, lines = facts["channels"], []
    if facts["imported_from"]:
        lines.append(_("From {origin}.").format(origin=html.escape(facts["imported_from"])))
    lines.append(_("Trained on {modality}.").format(modality=html.escape(facts["modality"])))
    channels = _("1 channel") if count == 1 else _("{count} channels").format(count=count)
    lines.append(f"{facts['spatial_dims']}D, {channels}, {_spacing(facts['spacing_mm'])}.")
    if not any(label["size_ml"] for label in facts["labels"]):
        lines.append(
            _(
                "Plausible volumes are not known: type them under Advanced, or have SFDALib"
                " import-model --labels measure them."
            )
        )
    return "<br>".join(lines)


def plausible_volumes(facts: Mapping[str, Any]) -> str:
    """The plausible volumes that a source model knows, as they are typed; of none an example."""
    known = [
        f"{label['name']}={'-'.join(_three_digits(n) for n in label['size_ml'])}"
        for label in facts["labels"]
        if label["size_ml"]
    ]
    if known:
        return ", ".join(known)
    return _("not known; such as {name}=900-2500").format(name=facts["labels"][0]["name"])


def _three_digits(number: float) -> str:
    """As in 979, 1640 and 0.0123."""
    return f"{float(f'{number:.3g}'):g}"


def _spacing(spacing_mm: Sequence[float | None]) -> str:
    """A model's spacing, i before j before k; None where the image keeps its own."""
    if all(mm is None for mm in spacing_mm):
        return _("spacing as is")
    if len(spacing_mm) == 3 and spacing_mm[2] is None and None not in spacing_mm[:2]:
        in_plane = " \u00d7 ".join(f"{mm:g}" for mm in spacing_mm[:2])
        return _("{spacing} mm in plane, slice spacing as is").format(spacing=in_plane)
    return " \u00d7 ".join(_("as is") if mm is None else f"{mm:g} mm" for mm in spacing_mm)


def method_details(described: Method) -> str:
    """A method's paper, what it changes and its cost, as rich text."""
    text = _("Changes {updates}. Cost: {cost}.").format(
        updates=html.escape(described.updates), cost=html.escape(described.cost)
    )
    return f"{text}<br><i>{html.escape(described.paper)}</i>"


def failures(run: Run) -> str:
    """How many images or methods failed in a run that went on, and the first one's message."""
    compared = run.request.compared
    text = (
        _("{count} of {total} methods failed; {first}: {message}")
        if compared
        else _("{count} of {total} images failed; {first}: {message}")
    )
    first, message = next(iter(run.failures.items()))
    total = len(compared) if compared else len(run.request.images)
    return text.format(count=len(run.failures), total=total, first=first, message=message)


def warnings(found: Sequence[str]) -> str:
    """The first warning of a run about its images, and how many more there are."""
    if len(found) < 2:
        return "".join(found)
    return _("{first} (and {count} more)").format(first=found[0], count=len(found) - 1)


def unsure(row: Mapping[str, Any]) -> tuple[str, str]:
    """How unsure the model is inside a structure.

    Args:
        row: of report.json's "uncertainty".

    Returns:
        A short text, and its explanation; both empty where the report has no value.
    """
    if row.get("uncertain_percent") is None:
        return "", ""
    share, bits = row["uncertain_percent"], row["entropy_bits"]
    text = _(
        "The model is unsure of {share:g} % of the voxels inside {name}; the mean entropy there is"
        " {bits:.2g} bits."
    )
    return (
        f"{share:.0f} %" if share >= 10 or not share else f"{share:.2g} %",
        text.format(share=share, name=row["name"], bits=bits),
    )


def verdict(facts: Mapping[str, Any], among: Sequence[Mapping[str, Any]] = ()) -> Verdict:
    """The judge's verdict on a result, from report.json.

    Args:
        facts: report.json.
        among: the verdicts, reports' "trust", of the other results of the same run; told where this
            one has none, as it is the source model's own.
    """
    notes, trust = tuple(facts.get("notes", ())), facts.get("trust")
    if trust is None:
        return Verdict("grey", _unjudged(facts.get("title", _("Result")), among), notes)
    # The report's notes hold the judge's reasons once more, in one sentence.
    together = "; ".join(trust["reasons"])
    others = tuple(note for note in notes if not together or together not in note)
    reasons = tuple(f"{sentence(reason)}." for reason in trust["reasons"])
    if "sentence" not in trust:  # in a scene that an earlier version saved
        return Verdict("amber", _("Judged by an earlier version: compare both."), reasons + others)
    return Verdict(LEVELS[trust["decision"]].colour, trust["sentence"], reasons + others)


def _unjudged(title: str, among: Sequence[Mapping[str, Any]]) -> str:
    """The line where there is no verdict."""
    better = sum(trust.get("adopted", False) for trust in among)
    if not among:
        text = _("{title}: nothing to judge.")
    elif better:
        text = _(
            "{title}. Of {count} other results {better} are better by the judge: choose one in Run."
        )
    else:
        text = _(
            "{title}. None of {count} other results is clearly better by the judge: compare them."
        )
    return text.format(title=title, count=len(among), better=better)


def reasons(found: Verdict) -> str:
    """The reasons of a verdict, as rich text."""
    return "".join(
        f'<p style="margin: 0 0 3px 0">\u2022 {html.escape(reason)}</p>' for reason in found.reasons
    )


def sentence(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]
