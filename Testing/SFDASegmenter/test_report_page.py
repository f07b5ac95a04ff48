"""report.json as a page: what its options are called, and what their values mean."""

from __future__ import annotations

from typing import Any

import pytest
from SFDASegmenterLib.report_page import page


def report(method: str, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": "A method",
        "method": method,
        "paper": "A paper",
        "notice": "Not a medical device.",
        "notes": [],
        "trust": None,
        "volumes": [],
        "options": options,
        "seed": 0,
        "device": "cpu",
        "software": {},
        "seconds": {},
        "peak_memory_mb": {},
        "input": [],
        "bundle": {"name": "Brain", "modality": "MR", "sha256": "0"},
        "adaptation": None,
    }


@pytest.mark.parametrize(
    ("method", "options", "rows"),
    [
        (
            "heal",
            {"canny_sigma": None, "samples": 3},
            {"Canny sigma (voxels)": "1 for volumes, 3 for single images", "Samples": "3"},
        ),
        ("heal", {"canny_sigma": 1.5}, {"Canny sigma (voxels)": "1.5"}),
        ("adami", {"settle_bn": False, "batch": 8}, {"Settle BN": "false", "Batch (patches)": "8"}),
        # of another version
        ("heal", {"gone_since": None}, {"gone_since": "none"}),
        ("never-known", {"canny_sigma": 2.0}, {"canny_sigma": "2.0"}),
    ],
)
def test_options_have_their_units_and_none_is_told_by_what_it_means(
    method: str, options: dict[str, Any], rows: dict[str, str]
) -> None:
    found = page(report(method, options), [])
    table = found[found.rindex("<h3>Options</h3>") :]
    for title, value in rows.items():
        assert f"<td><b>{title}</b></td><td>{value}</td>" in table
