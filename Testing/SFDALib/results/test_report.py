"""report.json is strict JSON, the same for equal runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import SFDALib
from SFDALib.results.report import software_versions, write_report


def names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


class TestReport:
    def test_is_strict_and_stable_json(self, tmp_path: Path) -> None:
        report = {
            "volume_ml": {"Brain": np.float32(1.5), "Eye": float("nan")},
            "losses": np.array([0.5, np.inf]),
            "chosen": np.int64(3),
            "adopted": np.bool_(True),
            "options": ("a", None, Path("in")),
            "name": "Gehirn, groß",
        }
        write_report(tmp_path / "a.json", report)
        write_report(tmp_path / "b.json", dict(reversed(report.items())))
        assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()

        def refuse(constant: str) -> None:
            pytest.fail(f"{constant} is not JSON")

        text = (tmp_path / "a.json").read_text(encoding="utf-8")
        read = json.loads(text, parse_constant=refuse)
        assert "not a medical device" in read.pop("notice")
        assert read == {
            "volume_ml": {"Brain": 1.5, "Eye": None},
            "losses": [0.5, None],
            "chosen": 3,
            "adopted": True,
            "options": ["a", None, "in"],
            "name": "Gehirn, groß",
        }

    def test_refuses_what_json_cannot_hold(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError):
            write_report(tmp_path / "a.json", {"x": object()})
        assert names_in(tmp_path) == set()

    def test_names_the_software(self) -> None:
        versions = software_versions()
        assert versions["SFDA"] == SFDALib.__version__
        assert versions["numpy"] == np.__version__
        assert versions["python"] == sys.version.split()[0]
        assert {"torch", "monai", "scikit-image", "SimpleITK"} <= set(versions)
