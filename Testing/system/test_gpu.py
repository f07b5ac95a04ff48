"""What is different on a GPU: runs there, running out of its memory, giving it back.

Skipped where torch finds no CUDA device, as on a machine of continuous integration.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunet_models import Setting, write_model
from paths import ROOT
from phantoms import Phantom
from quick_jobs import labels_of, report_of, words

from SFDALib.__main__ import main
from SFDALib.evaluation.metrics import dice
from SFDALib.machine import devices
from SFDALib.methods import registry

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"
)
Phantoms = Callable[..., Phantom]
SAMPLES = ROOT / "SFDASegmenter/Resources/Samples"
HEAD = ["--bundle", SAMPLES / "brain-t1w", "--input", SAMPLES / "patient04_t2w.nii.gz"]
MB = 2**20


def run(phantom: Phantom, method: str, output: Path, device: str) -> Path:
    request = ["run", *words(phantom, method, output), "--gate", "off", "--device", device]
    assert main(request) == 0
    return output


def head(output: Path, *more: str) -> list[str]:
    """AdaMI on the shipped T2W volume, which takes more than a gigabyte in batches of 24."""
    request = ["run", *HEAD, "--method", "adami", "--output", output, "--device", "cuda", *more]
    return [str(word) for word in request]


@contextmanager
def no_more_than(megabytes: float) -> Iterator[None]:
    """A GPU with less memory, as far as torch is concerned."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(megabytes * MB / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("method", registry.comparable(registry.METHODS))
def test_every_method_finds_on_a_gpu_what_it_finds_on_the_processor(
    phantom: Phantoms, tmp_path: Path, method: str, spatial_dims: int
) -> None:
    made = phantom(spatial_dims)
    one = run(made, method, tmp_path / "one", "cpu")
    other = run(made, method, tmp_path / "other", "cuda")
    report = report_of(other)
    assert report["device"].startswith("cuda:0 (")
    assert report["peak_memory_mb"]["gpu"] > 0
    assert labels_of(one).any()
    assert dice(labels_of(one) > 0, labels_of(other) > 0) > 0.95
    sources = [labels_of(folder, "source_segmentation") for folder in (one, other)]
    assert (sources[0] == sources[1]).mean() > 0.999


@pytest.mark.parametrize("method", ["heal", "adami"])
def test_a_run_repeats_on_a_gpu(phantom: Phantoms, tmp_path: Path, method: str) -> None:
    made = phantom()
    one, other = (labels_of(run(made, method, tmp_path / n, "cuda")) for n in ("a", "b"))
    assert (one == other).mean() > 0.999


def test_the_gpu_is_listed_and_chosen_by_itself(
    phantom: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["devices", "--json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    free = torch.cuda.mem_get_info(0)[0] / MB
    assert abs(listed["cuda:0"]["free_mb"] - free) < 0.2 * free
    assert report_of(run(phantom(), "none", tmp_path / "out", "auto"))["device"].startswith("cuda:")


def test_time_and_memory_are_estimated_for_the_gpu(
    phantom: Phantoms, capsys: pytest.CaptureFixture
) -> None:
    request = ["estimate", "--bundle", str(phantom().bundle), "--method", "adami", "--json"]
    assert main([*request, "--device", "cuda", "--size", "36,40,14", "--spacing", "3,3,6"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] > 0
    assert found["memory_mb"] > 0 and found["free_mb"] > 1000


def test_what_does_not_fit_is_done_again_in_smaller_batches(tmp_path: Path) -> None:
    devices.reset_peak_memory(torch.device("cuda:0"))
    with no_more_than(700):
        assert main([*head(tmp_path / "out"), "--option", "epochs=1"]) == 0
    notes = report_of(tmp_path / "out")["notes"]
    assert any("Memory ran out during adaptation" in note and "batch=" in note for note in notes)
    assert report_of(tmp_path / "out")["peak_memory_mb"]["gpu"] < 700


@pytest.mark.parametrize("megabytes", [1, 24])  # a single slice takes about 52 in training
def test_what_cannot_fit_is_refused_and_the_memory_given_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, megabytes: float
) -> None:
    gpu = torch.device("cuda:0")
    devices.release(gpu)
    before = torch.cuda.memory_allocated()
    with no_more_than(megabytes):
        assert main(head(tmp_path / "out")) == 3
    line = caplog.messages[-1]
    assert "out of memory" in line and "--device" in line and "\n" not in line
    assert not list(tmp_path.iterdir())
    devices.release(gpu)
    assert torch.cuda.memory_allocated() - before < 2 * MB
    assert main([*head(tmp_path / "out"), "--option", "epochs=1"]) == 0


def test_a_cancelled_run_gives_the_gpu_back(tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.mem_get_info(0)[0]
    command = [sys.executable, "-m", "SFDALib", *head(tmp_path / "out"), "--progress", "json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert any('"stage": "adapting"' in line for line in process.stdout)
        assert before - torch.cuda.mem_get_info(0)[0] > 300 * MB
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    for _ in range(50):  # the driver's own book-keeping
        if before - torch.cuda.mem_get_info(0)[0] < 64 * MB:
            break
        time.sleep(0.1)
    assert before - torch.cuda.mem_get_info(0)[0] < 64 * MB
    assert not list(tmp_path.iterdir())


def test_a_model_of_nnunet_runs_on_a_gpu(tmp_path: Path) -> None:
    import SimpleITK as sitk
    from nnunet_models import image

    setting = Setting(network="ResidualEncoderUNet")
    model = write_model(
        tmp_path / "Dataset900_Phantom" / "nnUNetTrainer__nnUNetPlans__3d_fullres",
        setting,
        folds=(0, 1),
    )
    volume, _ = image(setting)
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "image.nrrd"))
    found = []
    for name, device in (("one", "cpu"), ("other", "cuda")):
        files = ["--bundle", model, "--input", tmp_path / "image.nrrd", "--output", tmp_path / name]
        request = ["run", *files, "--method", "none", "--device", device]
        assert main([str(word) for word in request]) == 0
        found.append(labels_of(tmp_path / name))
    assert (found[0] == found[1]).mean() > 0.999


@pytest.mark.parametrize("kind", ["segmentation", "early-head", "diffusion"])
def test_training_works_on_a_gpu_in_mixed_precision(
    phantom: Phantoms, tmp_path: Path, kind: str
) -> None:
    site = phantom().image.parent
    more = {
        "segmentation": ["--config", site / "segmentation.json"],
        "early-head": ["--bundle", site / "base"],
        "diffusion": ["--bundle", site / "headed", "--config", site / "diffusion.json"],
    }[kind]
    if kind == "diffusion":
        more += ["--patch-size", "24,24", "--corruption", "0.5"]
    request = ["train", kind, "--manifest", site / "manifest.csv", "--output", tmp_path / "bundle"]
    request += ["--steps", 20, "--batch", 4, "--device", "cuda", "--amp", "--ema", 0.9, *more]
    assert main([str(word) for word in request]) == 0
    metadata = json.loads((tmp_path / "bundle/configs/metadata.json").read_text())
    told = metadata["sfda"]["provenance"][kind.replace("-", "_")]
    assert told["mixed_precision"] is True
    assert np.isfinite(told["final_loss"])
    assert main(["inspect", str(tmp_path / "bundle")]) == 0
