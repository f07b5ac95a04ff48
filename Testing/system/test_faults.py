"""Faults of the machine end in one line with the right status and nothing half-written, and the
next run works.

They are real where a test can bring them about: a small or read-only disk of its own, limits,
signals. Where it cannot, it skips, or what the system would say is said in its place.
"""

from __future__ import annotations

import ast
import errno
import gc
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
import torch
from paths import ROOT

from SFDALib.__main__ import main
from SFDALib.adaptation.common import loop
from SFDALib.errors import Cancelled, RequestError
from SFDALib.jobs import image_run, memory_need, run
from SFDALib.machine import main_memory
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.networks.residual_unet import ResidualUNet
from SFDALib.results.folder import ResultFolder, write_atomically
from SFDALib.volume.image_file import ImageFile, read_volume

FULL_DISK = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
HUGE = (
    b"NRRD0004\ntype: short\ndimension: 3\nsizes: 1024 1024 1000\nencoding: raw\nendian: little\n"
    b"spacings: 0.5 0.5 0.5\n\n"
)
# A root that may not do everything.
AS_A_USER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


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
    module = image_run if method == "none" else loop
    real = getattr(module, where)

    def greedy(*arguments: Any, **more: Any) -> Any:
        options = next(each for each in arguments if isinstance(each, InferenceOptions))
        seen.append(getattr(options, "batch", 0))
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


@pytest.mark.parametrize("enough", [1, 0], ids=["one by one", "not at all"])
def test_adaptation_is_tried_down_to_batches_of_one_patch(
    words: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    enough: int,
) -> None:
    seen: list[int] = []
    real = loop.adapt

    def greedy(*arguments: Any) -> Any:
        seen.append(arguments[3].batch)
        if seen[-1] > enough:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 GiB.")
        return real(*arguments)

    monkeypatch.setattr(loop, "adapt", greedy)
    assert main(words("adami", "epochs=1", "prior=60 ml")) == (0 if enough else 3)
    assert seen == [24, 6, 1]
    if enough:
        notes = report_of(tmp_path / "out")["notes"]
        assert [note for note in notes if "ran out" in note and "batch=1." in note]
    else:
        assert "64.00 GiB" in caplog.messages[-1] and "--device" in caplog.messages[-1]
        assert "not even --option batch=1 fits" in caplog.messages[-1]
        assert list(tmp_path.iterdir()) == []


def test_an_inference_that_is_done_again_tells_of_no_batch(
    words: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = image_run.predict, []

    def greedy(*arguments: Any, **more: Any) -> Any:
        calls.append(more)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 GiB.")
        return real(*arguments, **more)

    monkeypatch.setattr(image_run, "predict", greedy)
    assert main(words("adami", "epochs=1", "prior=60 ml")) == 0
    (note,) = [note for note in report_of(tmp_path / "out")["notes"] if "Memory ran out" in note]
    assert "source segmentation" in note and "batch" not in note


def test_where_memory_runs_out_twice_the_status_is_3_and_nothing_is_left(
    words: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def greedy(*arguments: Any, **more: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 GiB.")

    with monkeypatch.context() as patched:
        patched.setattr(image_run, "predict", greedy)
        assert main(words("none")) == 3
    assert "64.00 GiB" in caplog.messages[-1] and list(tmp_path.iterdir()) == []
    assert main(words("none")) == 0


@pytest.mark.parametrize("enough", [4, 0], ids=["once", "for good"])
def test_memory_that_runs_out_within_the_network_is_met_by_smaller_batches(
    words: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    enough: int,
) -> None:
    seen: list[int] = []
    given: list[weakref.ref[torch.Tensor]] = []
    real = ResidualUNet.forward

    def forward(network: ResidualUNet, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "meta":
            seen.append(len(x))
            given.append(weakref.ref(x))
            if len(x) > enough:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(network, x)

    with monkeypatch.context() as patched:
        patched.setattr(ResidualUNet, "forward", forward)
        assert main(words("none")) == (0 if enough else 3)
    first, *others = seen
    assert first > 4 and set(others) == {1}
    if enough:
        notes = report_of(tmp_path / "out")["notes"]
        assert any("Memory ran out during source segmentation" in note for note in notes)
    else:
        assert len(others) == 1 and "2.00 GiB" in caplog.messages[-1]
        gc.collect()
        assert not any(reference() is not None for reference in given)
        assert list(tmp_path.iterdir()) == []
        assert main(words("none")) == 0


def test_a_volume_too_large_for_the_memory_is_refused_by_its_header(
    words: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    path = tmp_path / "huge.nrrd"
    with open(path, "wb") as stream:
        stream.write(HUGE)
        stream.truncate(len(HUGE) + 2 * 1024 * 1024 * 1000)  # takes no room on the disk
    monkeypatch.setattr(main_memory, "available", lambda: 8 << 30)
    monkeypatch.setattr(ImageFile, "read", lambda image: pytest.fail("it was read"))
    assert main(words("none", image=path)) == 3
    line = caplog.messages[-1]
    assert "1024x1024x1000 voxels" in line and "8.0 GiB are free" in line
    assert [entry.name for entry in tmp_path.iterdir()] == ["huge.nrrd"]


def test_the_need_is_told_by_hand(head_file: Path) -> None:
    header = ImageFile(head_file).header  # 36 x 40 x 14 voxels of 16 bits
    voxels = 36 * 40 * 14
    assert header.stored_bytes == 2 * voxels
    assert header.geometry == read_volume(head_file).geometry
    of_the_input = 2 * 2 * voxels + 4 * (3 + 1) * voxels
    for judged, of_a_class in ((False, 1), (True, 8)):
        expected = of_the_input + 4 * (2 + of_a_class * 2) * 1000
        assert memory_need.memory_need(header, 1000, 1, 2, judged, True) == expected


def test_the_memory_that_is_free_is_within_the_limits_of_the_process(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the system does not say what the process has taken")
    script = (
        "import resource; from SFDALib.machine import main_memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, resource.RLIM_INFINITY))\n"
        "print(main_memory.available())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    assert 0 < int(done.stdout) < 3 << 30


def test_an_image_that_changes_during_the_run_is_told(
    words: Callable, head_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
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
        assert main(words("none", image=image)) == 2
    assert "changed meanwhile" in caplog.messages[-1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.nrrd"]


def test_a_bundle_that_changes_during_the_run_is_told(
    words: Callable, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    request = words("none")
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
    words: Callable[..., list[str]], tiny_bundle: Path, head_file: Path, tmp_path: Path
) -> dict[str, list[str]]:
    """The words of each command that writes a folder, for ``faulty_disk``."""
    run = words("adami", "epochs=1", "prior=60 ml", output="{out}")
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


# --- Clock, language and names -------------------------------------------------------------------


def test_a_clock_that_goes_backwards_changes_nothing(
    words: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(words("none", output=tmp_path / "before")) == 0
    now = iter(range(10**9, 0, -3600))
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: float(next(now)))
        assert main(words("none")) == 0
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
    words: Callable, head_file: Path, tmp_path: Path, locales: Path, locale: str
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
        [sys.executable, "-m", "SFDALib", *words("none", image=image, output=deep / "out ü")],
        cwd=ROOT,
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    assert main(words("none", image=image)) == 0
    assert content_of(deep / "out ü") == content_of(tmp_path / "out")
    assert report_of(tmp_path / "out")["input"][0]["name"] == image.name


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_name_that_is_no_text_is_refused(
    words: Callable, head_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.nrrd"))
    image.write_bytes(head_file.read_bytes())
    for request in (words("none", image=image), words("none", output=image.with_name("\udcffout"))):
        assert main(request) == 2
        assert "not valid UTF-8" in caplog.messages[-1]
    assert [os.fsencode(entry.name) for entry in tmp_path.iterdir()] == [b"\xff.nrrd"]


# --- Ends ----------------------------------------------------------------------------------------


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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_cancelled_cohort_keeps_the_images_that_are_done(
    words: Callable, head_file: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(100):
        (images / f"{number:03}.nrrd").symlink_to(head_file)
    request = ["cohort", *words("none", image=images)[1:], "--progress", "json"]
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
    words: Callable,
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
        assert main(["cohort", *words("none", image=images)[1:]]) == status
    rows = json.loads((tmp_path / "out/cohort.json").read_text())["images"]
    assert [row["folder"] for row in rows] == ["a", None, None]
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {"a", "cohort.json"}
    assert main(["cohort", *words("none", image=images, output=tmp_path / "again")[1:]]) == 0
    summary = json.loads((tmp_path / "again/cohort.json").read_text())
    assert (summary["done"], summary["ended_early"]) == (3, None)
