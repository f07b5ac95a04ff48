"""Files that change, clocks, languages, names and signals: a run ends in one line with the right
status and nothing half-written, and the next run works.
"""

from __future__ import annotations

import ast
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from paths import ROOT
from quick_jobs import report_of

from SFDALib.__main__ import main
from SFDALib.errors import Cancelled
from SFDALib.jobs import run
from SFDALib.volume.image_file import ImageFile

FULL_DISK = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_image_that_changes_during_the_run_is_told(
    head_words: Callable,
    head_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    image = tmp_path / "image.nrrd"
    image.write_bytes(head_file.read_bytes())
    real = ImageFile.read

    def meanwhile(*asked: Any) -> Any:
        volume = real(*asked)
        data = image.read_bytes()
        image.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        return volume

    with monkeypatch.context() as patched:
        patched.setattr(ImageFile, "read", meanwhile)
        assert main(head_words("none", image=image)) == 2
    assert "changed meanwhile" in caplog.messages[-1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.nrrd"]


def test_a_bundle_that_changes_during_the_run_is_told(
    head_words: Callable,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    request = head_words("none")
    request[request.index("--bundle") + 1] = str(bundle)
    real = ImageFile.read

    def changing(*asked: Any) -> Any:
        weights = bundle / "models/model.pt"
        data = weights.read_bytes()
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        return real(*asked)

    def going(*asked: Any) -> Any:
        shutil.rmtree(bundle)
        return real(*asked)

    for meanwhile in (changing, going):
        with monkeypatch.context() as patched:
            patched.setattr(ImageFile, "read", meanwhile)
            assert main(request) == 2
        assert f"{bundle}: found other content" in caplog.messages[-1]
        assert "the bundle was changed meanwhile" in caplog.messages[-1]
        assert not [entry for entry in tmp_path.iterdir() if entry != bundle]
        if meanwhile is changing:
            assert main(request) in (0, 2)
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
    shutil.copytree(tiny_bundle, bundle)
    assert main(request) == 0


def test_the_checksums_in_the_report_are_those_of_header_and_voxels(
    head_words: Callable, head_file: Path, tmp_path: Path
) -> None:
    sitk.WriteImage(sitk.ReadImage(str(head_file)), str(tmp_path / "head.mhd"))
    assert main(head_words("none", image=tmp_path / "head.mhd")) == 0
    names = [file["name"] for file in report_of(tmp_path / "out")["input"]]
    assert names == ["head.mhd", "head.raw"]


# --- Clock, language and names -------------------------------------------------------------------


def test_a_clock_that_goes_backwards_changes_nothing(
    head_words: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(head_words("none", output=tmp_path / "before")) == 0
    now = iter(range(10**9, 0, -3600))
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: float(next(now)))
        assert main(head_words("none")) == 0
    assert all(seconds >= 0 for seconds in report_of(tmp_path / "out")["seconds"].values())
    assert content_of(tmp_path / "out") == content_of(tmp_path / "before")


def test_no_duration_is_made_of_the_time_of_day() -> None:
    sources = [*ROOT.glob("SFDALib/**/*.py"), *ROOT.glob("SFDASegmenter/**/*.py")]
    assert len(sources) > 80
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f"{node.value.id}.{node.attr}"
                assert name not in ("time.time", "datetime.now", "datetime.utcnow"), source


def content_of(folder: Path) -> dict[str, bytes | dict[str, Any]]:
    """Every file of a result, but for what measures the machine."""
    content: dict[str, Any] = {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }
    report = json.loads(content["report.json"])
    del report["seconds"], report["peak_memory_mb"]
    return {**content, "report.json": report}


@pytest.fixture(scope="session")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where languages lie that the machine need not have."""
    return tmp_path_factory.mktemp("locales")


@pytest.mark.parametrize("locale", ["tr_TR.UTF-8", "de_DE.UTF-8", "C"])
def test_language_time_zone_and_names_do_not_matter(
    head_words: Callable, head_file: Path, tmp_path: Path, locales: Path, locale: str
) -> None:
    environment = {"LC_ALL": locale, "LANG": locale, "TZ": "Pacific/Kiritimati"}
    if locale != "C":
        language = locale.partition(".")[0]
        made = ["localedef", "-i", language, "-f", "UTF-8", str(locales / locale)]
        if shutil.which(made[0]) is None or subprocess.run(made, check=False).returncode:
            pytest.skip(f"{locale} cannot be made here")
        environment["LOCPATH"] = str(locales)
    deep = tmp_path / "a b" / "ü $x$ 脑" / ("d" * 150) / ("e" * 150)
    deep.mkdir(parents=True)
    image = deep / "kopf $1 – İı.nrrd"
    image.write_bytes(head_file.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "SFDALib", *head_words("none", image=image, output=deep / "out ü")],
        cwd=ROOT,
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    assert main(head_words("none", image=image)) == 0
    assert content_of(deep / "out ü") == content_of(tmp_path / "out")
    assert report_of(tmp_path / "out")["input"][0]["name"] == image.name


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_name_that_is_no_text_is_refused(
    head_words: Callable, head_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.nrrd"))
    image.write_bytes(head_file.read_bytes())
    for request in (
        head_words("none", image=image),
        head_words("none", output=image.with_name("\udcffout")),
    ):
        assert main(request) == 2
        assert "not valid UTF-8" in caplog.messages[-1]
    assert [os.fsencode(entry.name) for entry in tmp_path.iterdir()] == [b"\xff.nrrd"]


# --- Ends ----------------------------------------------------------------------------------------


def test_a_killed_run_is_harmless_to_the_next(head_words: Callable, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "SFDALib", *head_words("adami", "epochs=9999", "prior=60 ml")],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(head_words("none")) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_cancelled_cohort_keeps_the_images_that_are_done(
    head_words: Callable, head_file: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(100):
        (images / f"{number:03}.nrrd").symlink_to(head_file)
    request = ["cohort", *head_words("none", image=images)[1:], "--progress", "json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "SFDALib", *request],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    for line in process.stdout:
        told = json.loads(line)
        if told.get("stage") == "cohort" and told["step"] >= 2:
            break
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 130
    summary = json.loads((tmp_path / "out/cohort.json").read_text())
    done = [row["folder"] for row in summary["images"] if row["folder"]]
    assert summary["ended_early"] == "cancelled"
    assert 2 <= summary["done"] == len(done) < 100 and summary["failed"] == 0
    last = errors.splitlines()[-1]
    assert last == f"SFDALib: cancelled; {len(done)} of 100 images are done, in {tmp_path / 'out'}"
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {*done, "cohort.json"}
    assert len({frozenset(e.name for e in (tmp_path / "out" / f).iterdir()) for f in done}) == 1
    assert {entry.name for entry in tmp_path.iterdir()} == {"images", "out"}


@pytest.mark.parametrize(
    ("error", "status"), [(Cancelled("cancelled; nothing was written"), 130), (FULL_DISK, 2)]
)
def test_an_image_that_was_being_written_is_not_among_those_kept(
    head_words: Callable,
    head_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.nrrd", "b.nrrd", "c.nrrd"):
        shutil.copy(head_file, images / name)
    real = run.write_result

    def ending(folder: Path, *arguments: Any) -> Any:
        report = real(folder, *arguments)
        if folder.name.startswith(".b."):
            raise error
        return report

    with monkeypatch.context() as patched:
        patched.setattr(run, "write_result", ending)
        assert main(["cohort", *head_words("none", image=images)[1:]]) == status
    rows = json.loads((tmp_path / "out/cohort.json").read_text())["images"]
    assert [row["folder"] for row in rows] == ["a", None, None]
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {"a", "cohort.json"}
    assert main(["cohort", *head_words("none", image=images, output=tmp_path / "again")[1:]]) == 0
    summary = json.loads((tmp_path / "again/cohort.json").read_text())
    assert (summary["done"], summary["ended_early"]) == (3, None)
