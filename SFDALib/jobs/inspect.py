"""Describe a source model and say which methods it can serve. Standard library alone."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from SFDALib.bundle import terminology
from SFDALib.bundle.open_model import open_model
from SFDALib.bundle.spec_fields import normalisation_to_json
from SFDALib.errors import shown
from SFDALib.methods import needs, registry


def inspect(path: Path, brought: Collection[str] = ()) -> dict[str, Any]:
    """The facts about a source model; the files of weights must exist but are not read.

    Args:
        brought: names of ``methods.needs`` that the request supplies, such as "labels".

    Raises:
        RequestError: the model is unusable.
    """
    model = open_model(path)
    about = model.describe()
    model.require_weights()
    reasons = registry.lacking({*about.holds, *brought})
    return {
        "name": about.name,
        "modality": about.modality,
        "labels": [
            {
                "value": label.value,
                "name": label.name,
                "color": list(label.color),
                "terminology": label.terminology,
                "size_ml": list(label.size_ml) if label.size_ml else None,
            }
            for label in about.labels
        ],
        "network": about.network["_target_"].rsplit(".", 1)[-1],
        "spatial_dims": about.spatial_dims,
        "channels": about.input_spec.channels,
        "orientation": about.input_spec.orientation,
        "spacing_mm": list(about.input_spec.spacing),
        "normalisation": normalisation_to_json(about.input_spec),
        "ensemble": about.ensemble,
        "regions": bool(about.input_spec.regions),
        "threshold": about.input_spec.threshold,
        "cleaning": [step.transform for step in about.input_spec.cleaning],
        "postprocessing": list(about.postprocessing),
        "cautions": list(about.cautions),
        "temperature": about.temperature,
        "early_head": needs.EARLY_HEAD in about.holds,
        "diffusion": needs.DIFFUSION in about.holds,
        "batch_norm": needs.BATCH_NORM in about.holds,
        "methods": [name for name, reason in reasons.items() if reason is None],
        "unavailable": {name: reason for name, reason in reasons.items() if reason},
        "imported_from": _origin(about.provenance.get("import")),
        "provenance": dict(about.provenance),
    }


def in_words(facts: dict[str, Any]) -> str:
    """The facts as text."""
    labels = ", ".join(
        label["name"]
        + (f" ({label['size_ml'][0]:g} to {label['size_ml'][1]:g} ml)" if label["size_ml"] else "")
        for label in facts["labels"]
    )
    codes = ", ".join(
        f"{label['name']}: {terminology.in_words(label['terminology'])}"
        for label in facts["labels"]
    )
    spacing = " x ".join("as is" if mm is None else f"{mm:g}" for mm in facts["spacing_mm"])
    lines = [
        facts["name"],
        *((f"  from            {facts['imported_from']}",) if facts["imported_from"] else ()),
        f"  trained on      {facts['modality']}",
        f"  labels          {labels}",
        f"  in codes        {codes}",
        f"  network         {facts['network']}, {facts['spatial_dims']}D,"
        f" {facts['channels']} channel(s)"
        + (f", {facts['ensemble']} sets of weights averaged" if facts["ensemble"] > 1 else "")
        + (", overlapping regions" if facts["regions"] else ""),
        f"  grid            {facts['orientation'] or 'as is'}, spacing {spacing} mm,"
        f" {_normalisation(facts['normalisation'])} normalisation",
        f"  early head      {'yes' if facts['early_head'] else 'no'}",
        f"  diffusion model {'yes' if facts['diffusion'] else 'no'}",
        f"  methods         {', '.join(facts['methods'])}",
    ]
    if facts["threshold"] is not None:
        lines.append(f"  threshold       {facts['threshold']:g}")
    if facts["cleaning"]:
        lines.append(f"  labels cleaned  {', '.join(facts['cleaning'])}")
    if not any(label["size_ml"] for label in facts["labels"]):
        lines.append(
            "  volumes         not known; type them with --volumes, or let import-model --labels"
            " measure them"
        )
    lines += [f"  note            {caution}" for caution in facts["cautions"]]
    lines += [f"  not possible    {name}: {why}" for name, why in facts["unavailable"].items()]
    return "\n".join(lines)


def _origin(imported: object) -> str | None:
    """The kind of model that was imported; None for a bundle that was trained here."""
    return shown(str(imported.get("from"))) if isinstance(imported, dict) else None


def _normalisation(facts: dict[str, Any] | list[dict[str, Any]]) -> str:
    every = [step["kind"] for step in (facts if isinstance(facts, list) else [facts])]
    return " and ".join(dict.fromkeys(every))
