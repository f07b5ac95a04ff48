"""Hostile files do no harm, and faults of the machine end in one line with nothing half-written.

The files are those of ``hostile.py``, some hundred of each kind; what fuzzing found first stands by
name below.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from SFDALib import json_file, ram
from SFDALib.__main__ import main
from SFDALib.errors import OutOfMemoryError, RequestError, shown
from SFDALib.jobs import engine as engine_module
from SFDALib.jobs import need
from SFDALib.jobs.request import read_job
from SFDALib.results.folder import ResultFolder, write_atomically
from SFDALib.results.report import write_report
from SFDALib.volume.files import read_header, read_volume

ROOT = Path(__file__).parents[1]
RAMP = hostile.RAMP
FULL_DISK = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
NAMES = (
    *("bundle description", "bundle weights", "bundle zip", "job", "training configuration"),
    *("manifest", "labels", "image .nrrd", "image .nhdr", "image .mha", "image .mhd", "image .nii"),
    *("image .nii.gz", "image .png", "image .jpg", "image DICOM"),
)
SLOW_READERS = ("bundle weights", "bundle zip", "bundle description")


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, hostile.Reader]:
    return hostile.readers(tmp_path_factory.mktemp("valid"))


@pytest.mark.parametrize("name", NAMES)
def test_hostile_files_are_accepted_or_refused_in_a_line_and_do_nothing_else(
    readers: dict[str, hostile.Reader], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    logging.disable()
    results: dict[str, int] = {}

    @seed(0)
    @settings(
        max_examples=20 if name in SLOW_READERS else 100,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(readers[name].files)
    def read(files: dict[str, bytes]) -> None:
        result = hostile.outcome(readers[name], files, tmp_path)
        results[result] = results.get(result, 0) + 1

    try:
        read()
    finally:
        logging.disable(logging.NOTSET)
    assert set(results) <= {"accepted", "refused"}, results
    assert results["refused"] > 0


def test_every_reader_is_fuzzed(readers: dict[str, hostile.Reader]) -> None:
    assert set(NAMES) == set(readers)


# --- What fuzzing found --------------------------------------------------------------------------


def refusal(read: Callable[[], object], kind: type[Exception] = RequestError) -> str:
    with pytest.raises(kind) as caught:
        read()
    line = str(caught.value)
    assert shown(line) == line and len(line.splitlines()) == 1
    return line


META = (
    "ObjectType = Image\nNDims = {}\nDimSize = {}\nElementType = MET_SHORT\nElementDataFile = {}\n"
)
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 5\nencoding: raw\nendian: little\n"


@pytest.mark.parametrize("dimensions", ["2147483647", "4294967297", "99999999999999999999", "-1"])
def test_a_metaimage_of_many_dimensions_does_not_crash_the_process(
    tmp_path: Path, dimensions: str
) -> None:
    path = tmp_path / "x.mha"
    path.write_text(META.format(dimensions, "7 6 5", "LOCAL"))
    assert "dimensions" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("sizes", ["1 0 -1", "7 6", "7 6 5 4", "99999999999 6 5"])
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, sizes: str) -> None:
    meta, nrrd = tmp_path / "x.mha", tmp_path / "x.nrrd"
    meta.write_bytes(META.format(3, sizes, "LOCAL").encode() + RAMP.tobytes())
    nrrd.write_bytes(NRRD.replace("7 6 5", sizes).encode() + b"\n" + RAMP.tobytes())
    for path in (meta, nrrd):
        assert "whole sizes from 1" in refusal(lambda path=path: read_volume(path))


@pytest.mark.parametrize(
    "named",
    ["../secret.raw", "/etc/passwd", "/dev/zero", "LIST", "%d.raw 1 3 1", "link.raw", "gone.raw"],
)
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_voxels_are_read_from_one_file_beside_the_header_alone(
    tmp_path: Path, suffix: str, named: str
) -> None:
    (tmp_path / "secret.raw").write_bytes(RAMP.tobytes())
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    text = META.format(3, "7 6 5", named) if "m" in suffix else f"{NRRD}Data File: {named}\n"
    (folder / f"x{suffix}").write_text(text)
    assert "data file" in refusal(lambda: read_volume(folder / f"x{suffix}"))


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_data_file_beside_its_header_is_read(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a.raw").write_bytes(RAMP.tobytes())
    text = META.format(3, "7 6 5", "a.raw") if suffix == ".mhd" else f"{NRRD}data file: a.raw\n"
    (tmp_path / f"x{suffix}").write_text(text)
    assert np.array_equal(read_volume(tmp_path / f"x{suffix}").array[0], RAMP)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii", ".nii.gz"])
def test_a_header_that_promises_a_terabyte_is_refused_before_memory_is_taken(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"x{suffix}"
    if "nii" in suffix:
        data = bytearray(hostile.encoded(".nii"))
        struct.pack_into("<4h", data, 40, 3, 32000, 32000, 512)
        path.write_bytes(hostile.gzip.compress(data) if suffix.endswith("gz") else data)
    elif suffix == ".mha":
        path.write_text(META.format(3, "32000 32000 512", "LOCAL"))
    else:
        path.write_text(NRRD.replace("7 6 5", "32000 32000 512") + "\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(lambda: read_volume(path), (RequestError, OutOfMemoryError))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_nifti_whose_voxels_lie_elsewhere_is_refused(tmp_path: Path) -> None:
    for at, new, words in ((344, b"ni1\0", "another file"), (108, b"\xff\xff\x7f\x7f", "at byte")):
        data = bytearray(hostile.encoded(".nii"))
        data[at : at + 4] = new
        (tmp_path / "x.nii").write_bytes(data)
        assert words in refusal(lambda: read_volume(tmp_path / "x.nii"))


def test_the_content_does_not_decide_how_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(hostile.encoded(".nii"))
    refusal(lambda: read_volume(tmp_path / "x.png"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.nrrd")
    assert "no such file" in refusal(lambda: read_volume(tmp_path / "x.nrrd"))
    assert "pipe" in refusal(lambda: read_volume(tmp_path))
    assert "no such file" in refusal(lambda: read_job(tmp_path / "x.nrrd"))


@pytest.mark.parametrize(
    "text", ['{"a": "\\ud800"}', "[" * 40 + "]" * 40, '"' + "x" * json_file.LIMIT + '"', "\ufeff{}"]
)
def test_json_that_cannot_be_written_again_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    refusal(lambda: json_file.read(tmp_path / "x.json"))


def test_a_refusal_carries_no_control_characters() -> None:
    line = str(RequestError("found \x1b]0;title\x07 and \u202egpj and \udcff,\nexpected a name"))
    assert line == "found \\x1b]0;title\\x07 and \\u202egpj and \\udcff, expected a name"


def test_a_refusal_of_something_long_keeps_where_it_was_and_what_to_do() -> None:
    line = str(RequestError(f"x.csv, line 3: no such file {'x' * 5000}; write one that exists"))
    assert len(line) < 1300
    assert line.startswith("x.csv, line 3: no such file xx")
    assert line.endswith("xx; write one that exists")


def test_a_report_can_be_written_whatever_the_name_of_a_file(tmp_path: Path) -> None:
    write_report(tmp_path / "report.json", {"name": "\udcff.nrrd"})
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["name"] == "\\udcff.nrrd"


# --- Faults of the machine -----------------------------------------------------------------------


@pytest.fixture
def words(tiny_bundle: Path, head_file: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """``words(method, option, ..., image=, output=)``: a run with a model of random weights."""

    def request(
        method: str, *options: str, image: Any = head_file, output: Any = None
    ) -> list[str]:
        output = output or tmp_path / "out"
        files = ["--bundle", tiny_bundle, "--input", image, "--output", output]
        words = ["run", *files, "--method", method, "--device", "cpu"]
        return [*map(str, words), *(word for each in options for word in ("--option", each))]

    return request


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", ["none", "adami"])
def test_where_memory_runs_out_once_smaller_batches_are_tried_and_reported(
    words: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    where = "predict" if method == "none" else "adapt"
    seen: list[int] = []
    module = engine_module if method == "none" else sys.modules["SFDALib.adaptation.adami"]
    real = getattr(module, where)

    def greedy(*arguments: Any, **more: Any) -> Any:
        options = next(each for each in arguments if isinstance(each, dict))
        seen.append(options.get("batch", 0))
        if len(seen) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 GiB.")
        return real(*arguments, **more)

    monkeypatch.setattr(module, where, greedy)
    options = () if method == "none" else ("epochs=1", "prior=60 ml")
    assert main(words(method, *options)) == 0
    (note,) = [note for note in report_of(tmp_path / "out")["notes"] if "Memory ran out" in note]
    assert "patches one by one" in note
    assert seen[:2] == ([0, 0] if method == "none" else [24, 6])
    assert ("batch=6" in note) == (method == "adami")


def test_where_memory_runs_out_twice_the_status_is_3_and_nothing_is_left(
    words: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def greedy(*arguments: Any, **more: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 GiB.")

    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "predict", greedy)
        assert main(words("none")) == 3
    assert "64.00 GiB" in caplog.messages[-1] and list(tmp_path.iterdir()) == []
    assert main(words("none")) == 0


def test_a_volume_too_large_for_the_memory_is_refused_by_its_header(
    words: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    path = tmp_path / "huge.nrrd"
    text = NRRD.replace("7 6 5", "1024 1024 1000") + "spacings: 0.5 0.5 0.5\n\n"
    with open(path, "wb") as stream:
        stream.write(text.encode())
        stream.truncate(len(text) + 2 * 1024 * 1024 * 1000)  # takes no room on the disk
    monkeypatch.setattr(ram, "available", lambda: 8 << 30)
    monkeypatch.setattr(engine_module, "read_volume", lambda paths: pytest.fail("it was read"))
    assert main(words("none", image=path)) == 3
    line = caplog.messages[-1]
    assert "1024x1024x1000 voxels" in line and "8.0 GiB are free" in line
    assert [entry.name for entry in tmp_path.iterdir()] == ["huge.nrrd"]


def test_the_need_is_told_by_hand(head_file: Path) -> None:
    header = read_header([head_file])  # 36 x 40 x 14 voxels of 16 bits
    voxels = 36 * 40 * 14
    assert header.stored_bytes == 2 * voxels
    assert header.geometry == read_volume(head_file).geometry
    expected = 2 * 2 * voxels + 4 * (6 + 1) * voxels + 4 * (4 + 2 * 2) * 1000
    assert need.memory_need(header, 1000, 1, 2, True) == expected


def test_the_memory_that_is_free_is_within_the_limits_of_the_process(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the system does not say what the process has taken")
    script = (
        "import resource; from SFDALib import ram\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, resource.RLIM_INFINITY))\n"
        "print(ram.available())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 0 < int(done.stdout) < 3 << 30


def test_an_image_that_changes_during_the_run_is_told(
    words: Callable, head_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    image = tmp_path / "image.nrrd"
    image.write_bytes(head_file.read_bytes())
    real = engine_module.read_volume

    def meanwhile(paths: Any) -> Any:
        volume = real(paths)
        data = image.read_bytes()
        image.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        return volume

    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "read_volume", meanwhile)
        assert main(words("none", image=image)) == 2
    assert "changed meanwhile" in caplog.messages[-1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.nrrd"]


def test_the_checksums_in_the_report_are_those_of_header_and_voxels(
    words: Callable, head_file: Path, tmp_path: Path
) -> None:
    sitk.WriteImage(sitk.ReadImage(str(head_file)), str(tmp_path / "head.mhd"))
    assert main(words("none", image=tmp_path / "head.mhd")) == 0
    names = [file["name"] for file in report_of(tmp_path / "out")["input"]]
    assert names == ["head.mhd", "head.raw"]


def test_of_two_runs_into_one_folder_the_second_is_refused_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from SFDALib.results.folder import ResultFolder\n"
        "with ResultFolder(sys.argv[1]) as folder:\n"
        "    (folder / 'a').write_text('first'); print(flush=True); sys.stdin.read()\n"
    )
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(out)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as first:
        first.stdout.readline()
        with pytest.raises(RequestError, match="written by another run"), ResultFolder(out):
            pytest.fail("it opened")
        first.stdin.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert (out / "a").read_text() == "first"


@pytest.mark.parametrize(
    "error", [FULL_DISK, OSError("100 requested and 50 written"), OSError(errno.EFBIG, "too large")]
)
def test_a_disk_that_is_full_in_any_words_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    usage = type("Usage", (), {"free": 0})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(RequestError, match="disk"), write_atomically(tmp_path / "x.json"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_limit_to_the_size_of_files_ends_in_one_line(words: Callable, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "SFDALib", *words("adami", "epochs=1", "prior=60 ml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("locale", ["tr_TR.UTF-8", "de_DE.UTF-8", "C"])
def test_language_time_zone_and_names_do_not_matter(
    words: Callable, head_file: Path, tmp_path: Path, locale: str
) -> None:
    deep = tmp_path / "a b" / "ü $x$ 脑" / ("d" * 150) / ("e" * 150)
    deep.mkdir(parents=True)
    image = deep / "kopf $1 – İı.nrrd"
    image.write_bytes(head_file.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "SFDALib", *words("none", image=image, output=deep / "out ü")],
        cwd=ROOT,
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": locale, "LANG": locale, "TZ": "Pacific/Kiritimati"},
    )
    assert done.returncode == 0, done.stderr
    assert report_of(deep / "out ü")["input"][0]["name"] == image.name
    assert report_of(deep / "out ü")["model_grid"]["spacing_mm"][0] > 1


def test_a_killed_run_is_harmless_to_the_next(words: Callable, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "SFDALib", *words("adami", "epochs=9999", "prior=60 ml")],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(words("none")) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
