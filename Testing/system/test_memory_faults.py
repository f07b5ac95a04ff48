"""Where memory runs out, smaller batches are tried; where nothing helps, one line says so."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from paths import ROOT
from quick_jobs import report_of

from SFDALib.__main__ import main
from SFDALib.adaptation.common import loop
from SFDALib.jobs import image_run, memory_need
from SFDALib.machine import main_memory
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.networks.residual_unet import ResidualUNet
from SFDALib.volume.image_file import ImageFile, read_volume

HUGE = (
    b"NRRD0004\ntype: short\ndimension: 3\nsizes: 1024 1024 1000\nencoding: raw\nendian: little\n"
    b"spacings: 0.5 0.5 0.5\n\n"
)


@pytest.mark.parametrize("method", ["none", "adami"])
def test_where_memory_runs_out_once_smaller_batches_are_tried_and_reported(
    head_words: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
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
    assert main(head_words(method, *options)) == 0
    (note,) = [note for note in report_of(tmp_path / "out")["notes"] if "Memory ran out" in note]
    assert "patches one by one" in note
    assert seen[:2] == ([0, 0] if method == "none" else [24, 6])
    assert ("batch=6" in note) == (method == "adami")


@pytest.mark.parametrize("enough", [1, 0], ids=["one by one", "not at all"])
def test_adaptation_is_tried_down_to_batches_of_one_patch(
    head_words: Callable,
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
    assert main(head_words("adami", "epochs=1", "prior=60 ml")) == (0 if enough else 3)
    assert seen == [24, 6, 1]
    if enough:
        notes = report_of(tmp_path / "out")["notes"]
        assert [note for note in notes if "ran out" in note and "batch=1." in note]
    else:
        assert "64.00 GiB" in caplog.messages[-1] and "--device" in caplog.messages[-1]
        assert "not even --option batch=1 fits" in caplog.messages[-1]
        assert list(tmp_path.iterdir()) == []


def test_an_inference_that_is_done_again_tells_of_no_batch(
    head_words: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = image_run.predict, []

    def greedy(*arguments: Any, **more: Any) -> Any:
        calls.append(more)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 GiB.")
        return real(*arguments, **more)

    monkeypatch.setattr(image_run, "predict", greedy)
    assert main(head_words("adami", "epochs=1", "prior=60 ml")) == 0
    (note,) = [note for note in report_of(tmp_path / "out")["notes"] if "Memory ran out" in note]
    assert "source segmentation" in note and "batch" not in note


def test_where_memory_runs_out_twice_the_status_is_3_and_nothing_is_left(
    head_words: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def greedy(*arguments: Any, **more: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 GiB.")

    with monkeypatch.context() as patched:
        patched.setattr(image_run, "predict", greedy)
        assert main(head_words("none")) == 3
    assert "64.00 GiB" in caplog.messages[-1] and list(tmp_path.iterdir()) == []
    assert main(head_words("none")) == 0


@pytest.mark.parametrize("enough", [4, 0], ids=["once", "for good"])
def test_memory_that_runs_out_within_the_network_is_met_by_smaller_batches(
    head_words: Callable,
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
        assert main(head_words("none")) == (0 if enough else 3)
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
        assert main(head_words("none")) == 0


def test_a_volume_too_large_for_the_memory_is_refused_by_its_header(
    head_words: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    path = tmp_path / "huge.nrrd"
    with open(path, "wb") as stream:
        stream.write(HUGE)
        stream.truncate(len(HUGE) + 2 * 1024 * 1024 * 1000)  # takes no room on the disk
    monkeypatch.setattr(main_memory, "available", lambda: 8 << 30)
    monkeypatch.setattr(ImageFile, "read", lambda image: pytest.fail("it was read"))
    assert main(head_words("none", image=path)) == 3
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
