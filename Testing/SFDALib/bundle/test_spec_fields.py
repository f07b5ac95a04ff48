"""A wrong field of the input's specification is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from checked_bundles import (
    METADATA,
    change,
    refusal,
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("axes", [0, 1]),
        ("axes", [0, 1, 1]),
        ("crop", "all"),
        ("resampling", {"order": 9}),
        ("resampling", {"orders": 1}),
        ("resampling", {"smooth": 1}),
        ("resampling", {"maps": "labels"}),
        ("regions", [{"channel": 1, "label": 1}]),
        ("regions", [{"channel": 0}]),
        ("windows", "wide"),
        ("mirror_axes", [2]),
        ("ensemble", 0),
        ("ensemble", 10**6),
        ("normalisation", []),
        ("normalisation", [{"kind": "zscore", "channels": [3]}]),
        ("normalisation", [{"kind": "zscore", "channels": 0}]),
        ("normalisation", {"kind": "zscore", "within": "head"}),
    ],
)
def test_a_field_of_the_grid_that_it_cannot_have_is_named(
    bundle: Path, field: str, value: object
) -> None:
    line = refusal(change(bundle, METADATA, lambda content: content["sfda"].update({field: value})))
    assert METADATA in line and field in line
