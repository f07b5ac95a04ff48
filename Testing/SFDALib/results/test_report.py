"""report.json is strict JSON, the same for equal runs."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import SFDALib
from SFDALib.hashing import sha256
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

    def test_digest_of_a_file_is_that_of_its_content(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
        expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert sha256(tmp_path / "a") == expected

    def test_digest_of_a_folder_tells_names_and_contents(self, tmp_path: Path) -> None:
        def digest(**files: str) -> str:
            folder = tmp_path / "f"
            shutil.rmtree(folder, ignore_errors=True)
            for name, text in files.items():
                path = folder / name.replace("_", "/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return sha256(folder)

        one = digest(b="2", a="1", c_d="3")
        assert one == digest(c_d="3", a="1", b="2")
        others = {
            digest(a="2", b="1", c_d="3"),
            digest(a="1", b="2"),
            digest(a="1", b="2", c_e="3"),
        }
        assert len(others | {one}) == 4
        lines = "".join(
            f"{hashlib.sha256(text).hexdigest()}  {name}\n"
            for name, text in (("a", b"1"), ("b", b"2"), ("c/d", b"3"))
        )
        assert one == hashlib.sha256(lines.encode()).hexdigest()
