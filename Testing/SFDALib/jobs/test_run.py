"""A run of one image: what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from SFDALib.__main__ import main
from SFDALib.jobs import image_run
from SFDALib.jobs.request import Job


def test_a_note_on_the_image_is_printed_once(
    tiny_bundle: Path,
    head_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(image_run, "unlike", lambda *_: ["The image is inverted."])
    argv = ["--bundle", str(tiny_bundle), "--input", str(head_file), "--method", "none"]
    assert main(["run", *argv, "--device", "cpu", "--output", str(tmp_path / "out")]) == 0
    assert [one for one in caplog.messages if "The image is inverted." in one] == [
        "head.nrrd: The image is inverted."
    ]
    assert "The image is inverted." in (tmp_path / "out/report.json").read_text()


def test_a_request_is_checked_once(
    tiny_bundle: Path, head_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = []
    real = Job.checked

    def counted(job: Job) -> Job:
        checks.append(job)
        return real(job)

    monkeypatch.setattr(Job, "checked", counted)
    argv = ["--bundle", str(tiny_bundle), "--input", str(head_file), "--method", "none"]
    assert main(["run", *argv, "--device", "cpu", "--output", str(tmp_path / "out")]) == 0
    assert len(checks) == 1
