"""Numbers and reports in the words that the panel shows. Knows neither Qt nor MRML."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SFDALib.methods.method import Method
from SFDASegmenterLib.worker import Progress

LARGEST_SHARE = 1000  # per cent
JUDGE = "judge: "  # how the note begins that a run makes of the verdict


@dataclass(frozen=True)
class Verdict:
    """What a run says of its result.

    Args:
        tone: "good", "doubtful", "bad", or "none" where there is nothing to judge.
        line: in one line.
        reasons: why, and what else the run says; empty where it says nothing more.
    """

    tone: str
    line: str
    reasons: tuple[str, ...]


def ml(value: float) -> str:
    """A volume with the digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def change(before: float, after: float) -> str:
    """A change of volume in ml and per cent, the latter unless it says nothing any more."""
    share = 100 * (after - before) / before if before > 0 else math.inf
    told = f" ({share:+.0f} %)" if abs(share) <= LARGEST_SHARE else ""
    sign = "+" if after > before else "-" if after < before else ""
    return f"{sign}{ml(abs(after - before))}{told}".replace("-", "\u2212")


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 60:
        return f"{max(5, round(seconds / 5) * 5)} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def memory(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"


def progress(now: Progress) -> str:
    """The stage, its step and the time left."""
    parts = [_sentence(now.stage)]
    if now.total > 1:
        parts.append(f"step {now.step} of {now.total}")
    if now.seconds_left:
        parts.append(f"about {duration(now.seconds_left)} left in this stage")
    return (f"{now.image}: " if now.image else "") + ", ".join(parts)


def bundle(facts: Mapping[str, Any]) -> str:
    """What a source model says of itself, in short: name and structures, as rich text."""
    labels = ", ".join(
        f'<span style="color: rgb({r},{g},{b})">\u25a0</span>\u00a0{html.escape(label["name"])}'
        for label in facts["labels"]
        for r, g, b in [label["color"]]
    )
    return f"{html.escape(facts['name'])}: {labels}"


def bundle_details(facts: Mapping[str, Any]) -> str:
    """The rest of what a source model says of itself, as rich text."""
    count = facts["channels"]
    lines = [
        *((f"From {html.escape(facts['imported_from'])}.",) if facts["imported_from"] else ()),
        f"Trained on {html.escape(facts['modality'])}.",
        f"{facts['spatial_dims']}D, {count} channel{'s' if count != 1 else ''},"
        f" {_spacing(facts['spacing_mm'])}.",
    ]
    return "<br>".join(lines)


def _spacing(spacing_mm: Sequence[float | None]) -> str:
    """A model's spacing, i before j before k; None where it takes the image's own."""
    if all(mm is None for mm in spacing_mm):
        return "spacing as is"
    if len(spacing_mm) == 3 and spacing_mm[2] is None and None not in spacing_mm[:2]:
        in_plane = " \u00d7 ".join(f"{mm:g}" for mm in spacing_mm[:2])
        return f"{in_plane} mm in plane, slice spacing as is"
    return " \u00d7 ".join("as is" if mm is None else f"{mm:g} mm" for mm in spacing_mm)


def method_details(described: Method) -> str:
    """A method's paper, what it changes and its cost, as rich text."""
    return (
        f"Changes {html.escape(described.updates)}. Cost: {html.escape(described.cost)}.<br>"
        f"<i>{html.escape(described.paper)}</i>"
    )


def failures(run: Any) -> str:
    """What failed of a run that went on, in one line."""
    compared = run.request.compared
    what, total = ("methods", len(compared)) if compared else ("images", len(run.request.images))
    first, message = next(iter(run.failures.items()))
    return f"{len(run.failures)} of {total} {what} failed; {first}: {message}"


def warnings(found: Sequence[str]) -> str:
    """What a run says of its images before it ends, in one line."""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return found[0] + more if found else ""


def unsure(row: Mapping[str, Any]) -> tuple[str, str]:
    """How unsure the model is inside a structure, of report.json's "uncertainty": short, and what
    is meant; both empty where nothing is known.
    """
    if row.get("uncertain_percent") is None:
        return "", ""
    share, bits = row["uncertain_percent"], row["entropy_bits"]
    return (
        f"{share:.0f} %" if share >= 10 or not share else f"{share:.2g} %",
        f"The model is unsure of {share:g} % of the voxels inside {row['name']}; the mean entropy"
        f" there is {bits:.2g} bits.",
    )


def verdict(facts: Mapping[str, Any]) -> Verdict:
    """The judge's verdict on a result, from report.json."""
    others = tuple(note for note in facts.get("notes", ()) if not note.startswith(JUDGE))
    trust = facts.get("trust")
    if trust is None:
        return Verdict("none", f"{facts.get('title', 'Result')}: nothing to judge.", others)
    kept = trust["delivered"] == "source"
    tone, line = {
        "adopt": ("good", "Trusted: use this result."),
        "look": ("doubtful", f"Unsure: compare both{' (source shown)' if kept else ''}."),
        "keep": (
            "bad",
            f"Not trusted: {'source result shown' if kept else 'use the source result'}.",
        ),
    }[trust["decision"]]
    sizes = _implausible(facts.get("volumes", ()))
    if trust["decision"] == "adopt" and sizes:
        tone, line = "doubtful", f"Better than the source's, but look at it: {sizes}."
    reasons = tuple(f"{_sentence(reason)}." for reason in trust["reasons"])
    return Verdict(tone, line, reasons + others)


def _implausible(volumes: Sequence[Mapping[str, Any]]) -> str:
    """Which structures of a result are larger or smaller than plausible; empty if none is."""
    found = [
        f"{row['name']} is {'larger' if row['result_ml'] > row['plausible_ml'][1] else 'smaller'}"
        for row in volumes
        if row.get("plausible_ml")
        and not row["plausible_ml"][0] <= row["result_ml"] <= row["plausible_ml"][1]
    ]
    return f"{', '.join(found)} than plausible" if found else ""


def reasons(found: Verdict) -> str:
    """Why, as rich text."""
    return "".join(
        f'<p style="margin: 0 0 3px 0">\u2022 {html.escape(reason)}</p>' for reason in found.reasons
    )


def report(facts: Mapping[str, Any], pictures: Sequence[Path]) -> str:
    """report.json as a page: HTML."""
    rows = {
        "Image": ", ".join(file["name"] for file in facts["input"]),
        "Source model": f"{facts['bundle']['name']} ({facts['bundle']['modality']})",
        "Method": facts["title"],
        "Paper": facts["paper"],
        "Device": facts["device"],
        "Seed": str(facts["seed"]),
        "Time": ", ".join(f"{stage} {duration(s)}" for stage, s in facts["seconds"].items()),
        "Largest memory": ", ".join(
            f"{place} {memory(mb)}" for place, mb in facts["peak_memory_mb"].items()
        ),
        "Versions": ", ".join(f"{name} {v}" for name, v in facts["software"].items()),
        "Checksum of the model": facts["bundle"]["sha256"],
        "Checksum of the image": ", ".join(file["sha256"] for file in facts["input"]),
    }
    adaptation = facts["adaptation"]
    if adaptation:
        rows["Best epoch"] = str(adaptation["best_epoch"])
        rows["Stopped"] = adaptation["stopped"] or "after its last epoch"
    volumes = "".join(
        f"<tr><td>{html.escape(row['name'])}</td><td align=right>{ml(row['source_ml'])}</td>"
        f"<td align=right>{ml(row['result_ml'])}</td>"
        f"<td align=right>{change(row['source_ml'], row['result_ml'])}</td></tr>"
        for row in facts["volumes"]
    )
    found = verdict(facts)
    encoded = [base64.b64encode(path.read_bytes()).decode("ascii") for path in pictures]
    shown = "".join(
        f'<p><img width=840 src="data:image/png;base64,{data}"></p>' for data in encoded
    )
    return (
        f"<h2>{html.escape(facts['title'])}</h2>"
        f"<p><b>{html.escape(facts['notice'])}</b></p>"
        f"<p><b>{html.escape(found.line)}</b></p>{reasons(found)}{shown}"
        "<h3>Volumes (ml)</h3><table cellpadding=4><tr><th>Structure</th><th>Source model</th>"
        f"<th>Result</th><th>Change</th></tr>{volumes}</table>"
        f"<h3>The run</h3>{_table(rows)}"
        f"<h3>Options</h3>{_table({k: str(v) for k, v in facts['options'].items()})}"
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(rows: Mapping[str, str]) -> str:
    cells = "".join(
        f"<tr><td><b>{html.escape(key)}</b></td><td>{html.escape(value)}</td></tr>"
        for key, value in rows.items()
    )
    return f"<table cellpadding=4>{cells}</table>"
