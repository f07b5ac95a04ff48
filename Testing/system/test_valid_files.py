"""Valid files drawn at random are read right, or refused in a line: no silent wrong result."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import hostile
import pytest
import valid_files
from hypothesis import HealthCheck, Phase, given, seed, settings

READERS = valid_files.readers()


@pytest.mark.parametrize("name", READERS)
def test_valid_files_are_right_or_refused(name: str, tmp_path: Path) -> None:
    results: Counter[str] = Counter()

    @seed(1)
    @settings(
        max_examples=30,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(READERS[name].files)
    def read(files: dict[str, bytes]) -> None:
        results[hostile.outcome(READERS[name], files, tmp_path)] += 1

    read()
    assert set(results) <= {"accepted", "refused"}, results
    assert results["accepted"] > results["refused"], results
