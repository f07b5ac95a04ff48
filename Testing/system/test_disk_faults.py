"""Disks that are full, small, read-only or forbidden end in one line with the right status and
nothing half-written, and the next run works.

They are real where a test can bring them about: a disk of its own, limits, permissions. Where it
cannot, it skips, or what the system would say is said in its place.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from paths import ROOT

from SFDALib.errors import RequestError
from SFDALib.results.folder import ResultFolder, write_atomically

FULL_DISK = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

# A root that may not do everything.
AS_A_USER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


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
        with pytest.raises(RequestError, match="still writing there"), ResultFolder(out):
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


# --- Real disks ----------------------------------------------------------------------------------


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def private_mounts() -> list[str]:
    """How a command is started that may mount; skips where nobody may."""
    command = ["unshare", "--mount", *(() if is_root() else ("--map-root-user",))]
    probe = "mount -t tmpfs -o size=64k tmpfs /mnt"
    try:
        done = subprocess.run([*command, "sh", "-c", probe], check=False, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no unshare here, and so no disk of a test's own")
    if done.returncode:
        pytest.skip(f"a test may have no disk of its own here: {done.stderr.decode()[:80]}")
    return command


def without_roots_rights() -> list[str]:
    """How a command is started whose user must ask for permission."""
    if not is_root():
        return []
    if shutil.which(AS_A_USER[0]) is None:
        pytest.skip("there is no setpriv here, and root may do everything")
    return list(AS_A_USER)


@pytest.fixture
def requests(
    head_words: Callable[..., list[str]], tiny_bundle: Path, head_file: Path, tmp_path: Path
) -> dict[str, list[str]]:
    """The words of each command that writes a folder, for ``faulty_disk``."""
    run = head_words("adami", "epochs=1", "prior=60 ml", output="{out}")
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.nrrd", "b.nrrd"):
        shutil.copy(head_file, images / name)
    several = ["--methods", "adami,tent", "--option", "adami.epochs=1", "--option"]
    several += ["adami.prior=60 ml", "--option", "tent.epochs=1", "--device", "cpu"]
    labels = sitk.ReadImage(str(head_file)) > 200
    sitk.WriteImage(labels, str(tmp_path / "labels.nrrd"))
    (tmp_path / "manifest.csv").write_text(f"image,label,split\n{head_file},labels.nrrd,train\n")
    files = ["--bundle", str(tiny_bundle), "--input", str(head_file), "--output", "{out}"]
    training = ["train", "early-head", "--manifest", str(tmp_path / "manifest.csv"), "--batch", "4"]
    training += ["--bundle", str(tiny_bundle), "--steps", "3", "--device", "cpu"]
    return {
        "run": run,
        "cohort": ["cohort", *run[1 : run.index("--input") + 1], str(images), *run[5:]],
        "compare": ["compare", *files, *several],
        "train": [*training, "--checkpoint-minutes", "0", "--output", "{out}"],
    }


@pytest.fixture
def on_a_faulty_disk(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], str]]:
    """What ``faulty_disk`` tells, and the last line of the first attempt."""

    def attempt(
        before: list[str], fault: str, request: list[str], again: str = "out"
    ) -> tuple[dict[str, Any], str]:
        place = tmp_path / "disk"
        place.mkdir()
        script = [sys.executable, str(ROOT / "Testing/helpers/faulty_disk.py")]
        done = subprocess.run(
            [*before, *script, fault, str(place), again, *request],
            capture_output=True,
            encoding="utf-8",
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("SFDALib: ")]
        return json.loads(done.stdout.splitlines()[-1]), line

    return attempt


def test_on_a_full_disk_nothing_half_written_is_left_and_the_next_run_works(
    requests: dict[str, list[str]], on_a_faulty_disk: Callable
) -> None:
    told, line = on_a_faulty_disk(private_mounts(), "small=400", requests["compare"])
    assert told == {"first": 2, "left": [], "second": 0}
    assert "/disk/out cannot be written: the disk is full" in line


def test_of_a_cohort_the_images_done_before_the_disk_was_full_are_kept(
    requests: dict[str, list[str]], on_a_faulty_disk: Callable
) -> None:
    fault = (private_mounts(), "small=1400")
    told, line = on_a_faulty_disk(*fault, requests["cohort"], again="again")
    assert (told["first"], told["second"]) == (2, 0)
    assert "the disk is full" in line and "1 of 2 images are done" in line
    assert [name for name in told["left"] if name.count("/") < 2] == [
        *("out", "out/a", "out/cohort.json")
    ]
    assert "out/a/report.json" in told["left"]


@pytest.mark.parametrize(
    "kilobytes, full_at", [(70, ".out.training/early-head-0"), (110, ".out.training")]
)
def test_a_training_on_a_full_disk_says_so_and_goes_on_once_there_is_room(
    requests: dict[str, list[str]], on_a_faulty_disk: Callable, kilobytes: int, full_at: str
) -> None:
    """While the images are brought to the model's grid, and at the first checkpoint."""
    told, line = on_a_faulty_disk(private_mounts(), f"small={kilobytes}", requests["train"])
    assert (told["first"], told["second"]) == (2, 0)
    assert f"{full_at} cannot be written: the disk is full" in line
    assert not [name for name in told["left"] if name.endswith(".partial") or name == "out"]


@pytest.mark.parametrize("command", ["run", "train"])
def test_a_disk_that_is_read_only_is_told(
    requests: dict[str, list[str]], on_a_faulty_disk: Callable, command: str
) -> None:
    told, line = on_a_faulty_disk(private_mounts(), "read-only", requests[command])
    assert told == {"first": 2, "left": [], "second": 0}
    assert "read-only" in line.lower()


@pytest.mark.parametrize("command", ["run", "train"])
def test_a_folder_that_may_not_be_written_is_told_to_root_too(
    requests: dict[str, list[str]], on_a_faulty_disk: Callable, command: str
) -> None:
    told, line = on_a_faulty_disk(without_roots_rights(), "forbidden", requests[command])
    assert told == {"first": 2, "left": [], "second": 0}
    assert "ermi" in line


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no such limit here")
@pytest.mark.parametrize("command", ["run", "cohort", "compare", "train"])
def test_a_limit_to_the_size_of_files_ends_in_one_line(
    requests: dict[str, list[str]], on_a_faulty_disk: Callable, command: str
) -> None:
    limit = "limit=15" if command == "train" else "limit=100"
    told, line = on_a_faulty_disk([], limit, requests[command])
    assert (told["first"], told["second"]) == (2, 0)
    assert "cannot be written: the disk" in line
    left = {name.split("/")[0] for name in told["left"]}
    assert left == ({".out.training"} if command == "train" else set())


@pytest.mark.skipif(not is_root(), reason="who is not root has these tests run as they are")
def test_the_tests_of_permissions_hold_for_root_without_its_rights() -> None:
    rooms = ("bundle", "results", "volume")
    places = [f"Testing/SFDALib/{room}" for room in rooms]
    places += ["Testing/system/test_command_line.py"]
    done = subprocess.run(
        [
            *(*without_roots_rights(), sys.executable, "-m", "pytest", "-q", "-k", "permission"),
            *("-p", "no:cacheprovider", *places),
        ],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    last = done.stdout.splitlines()[-1]
    assert done.returncode == 0 and "passed" in last and "skipped" not in last, done.stdout
