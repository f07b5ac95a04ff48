"""report.json as a page for people: HTML. Knows neither Qt nor MRML."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from SFDALib.methods import registry
from SFDALib.methods.option import word
from SFDALib.trust.levels import LEVELS
from SFDASegmenterLib import words
from SFDASegmenterLib.i18n import tr as _


def page(facts: Mapping[str, Any], pictures: Sequence[Path]) -> str:
    """The report with the run's own pictures.

    Args:
        facts: report.json.
        pictures: files of PNG images.
    """
    found = words.verdict(facts)
    encoded = [base64.b64encode(path.read_bytes()).decode("ascii") for path in pictures]
    shown = "".join(
        f'<p><img width=840 src="data:image/png;base64,{data}"></p>' for data in encoded
    )
    return (
        f"<h2>{html.escape(facts['title'])}</h2>"
        f"<p><b>{html.escape(facts['notice'])}</b></p>"
        f"<p><b>{html.escape(found.line)}</b></p>{words.reasons(found)}{shown}"
        f"<h3>{_('Volumes (ml)')}</h3>{_volumes(facts['volumes'])}"
        f"{_tried(facts.get('auto'))}"
        f"<h3>{_('The run')}</h3>{_table(_facts_of_the_run(facts))}"
        f"<h3>{_options_heading(facts)}</h3>{_table(_options(facts))}"
    )


def _options_heading(facts: Mapping[str, Any]) -> str:
    """With the preset, which reports of earlier versions do not name."""
    preset = words.PRESETS.get(facts.get("preset", ""))
    return _("Options") if preset is None else f"{_('Options')}: {preset}"


def _options(facts: Mapping[str, Any]) -> dict[str, str]:
    """The options as the panel's form shows them; those of another version as they are typed."""
    method = registry.METHODS.get(facts["method"])
    known = {option.name: option for option in method.options} if method else {}
    rows = {}
    for name, value in facts["options"].items():
        option = known.get(name)
        means_none = option.none if option and value is None else ""
        rows[option.title if option else name] = means_none or word(value)
    return rows


def _facts_of_the_run(facts: Mapping[str, Any]) -> dict[str, str]:
    rows = {
        _("Image"): ", ".join(file["name"] for file in facts["input"]),
        _("Source model"): f"{facts['bundle']['name']} ({facts['bundle']['modality']})",
        _("Method"): facts["title"],
        _("Paper"): facts["paper"],
        _("Device"): facts["device"],
        _("Seed"): str(facts["seed"]),
        _("Time"): ", ".join(
            f"{stage} {words.duration(s)}" for stage, s in facts["seconds"].items()
        ),
        _("Peak memory"): ", ".join(
            f"{place} {words.memory(mb)}" for place, mb in facts["peak_memory_mb"].items()
        ),
        _("Versions"): ", ".join(f"{name} {v}" for name, v in facts["software"].items()),
        _("Checksum of the model"): facts["bundle"]["sha256"],
        _("Checksum of the image"): ", ".join(file["sha256"] for file in facts["input"]),
    }
    adaptation = facts["adaptation"]
    if adaptation:
        rows[_("Best epoch")] = str(adaptation["best_epoch"])
        rows[_("Stopped")] = adaptation["stopped"] or _("after its last epoch")
    return rows


def _volumes(volumes: Sequence[Mapping[str, Any]]) -> str:
    headings = (_("Structure"), _("Source model"), _("Method"), _("Change"))
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    rows = "".join(
        f"<tr><td>{html.escape(row['name'])}</td><td align=right>{words.ml(row['source_ml'])}</td>"
        f"<td align=right>{words.ml(row['result_ml'])}</td>"
        f"<td align=right>{words.change(row['source_ml'], row['result_ml'])}</td></tr>"
        for row in volumes
    )
    return f"<table cellpadding=4><tr>{head}</tr>{rows}</table>"


def _tried(auto: Mapping[str, Any] | None) -> str:
    """What the automatic choice tried and left out; empty for a run of one method."""
    if auto is None:
        return ""
    rows = {row["title"]: _outcome(row) for row in auto["tried"]}
    rows |= {row["title"]: row["why"] for row in auto["left_out"]}
    why = html.escape(words.sentence(auto["why"]))
    return f"<h3>{_('What was tried')}</h3><p>{why}.</p>{_table(rows)}"


def _outcome(row: Mapping[str, Any]) -> str:
    """What came of a method that was tried."""
    if row["error"] is not None:
        return _("failed: {error}").format(error=row["error"])
    took = words.duration(row["seconds_total"])
    return f"{LEVELS[row['trust']['decision']].meaning}; {took}" if row["trust"] else took


def _table(rows: Mapping[str, str]) -> str:
    cells = "".join(
        f"<tr><td><b>{html.escape(key)}</b></td><td>{html.escape(value)}</td></tr>"
        for key, value in rows.items()
    )
    return f"<table cellpadding=4>{cells}</table>"
