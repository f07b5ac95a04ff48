"""What a run takes on a GPU: seconds of each stage and memory, file to file.

    python Testing/Benchmarks/gpu.py --output gpu.json [--device auto] [--small]

The runs are those of the command line, in one process after a first one, so that neither imports
nor the start of the GPU count; ``cold`` says what they add. One table on the screen for each part,
the same as JSON, which is written after every row.

runs        the demo's model (2D) on its T2W volume resampled to 240x240x155 voxels of 1 mm, every
            method at its defaults or with what ``SHORTER`` says, beside what ``estimate`` says
nnU-Net     a residual encoder network of nnU-Net's usual size with random weights, windows of
            128x128x128, on the same volume, plain and mirrored along all axes
diffusion   Med-DDPM's network for 128x128x128, random weights: one evaluation in single precision
            and in bfloat16, and six samples in 15 steps; the paper's 250 steps reckoned from that
cancel      from the signal to the end of the process and to the GPU's memory being free again
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from SFDALib.__main__ import main as sfdalib
from SFDALib.bundle import source
from SFDALib.bundle.description import Description, Label
from SFDALib.diffusion.drawing import Drawing, draw_samples
from SFDALib.diffusion.schedule import cosine_schedule
from SFDALib.inference.predict import predict
from SFDALib.machine import devices
from SFDALib.methods import registry
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.networks.build import build_network
from SFDALib.networks.diffusion_unet import ConditionalDiffusionUNet
from SFDALib.networks.med_ddpm import MED_DDPM_PRESETS
from SFDALib.results.report import software_versions
from SFDALib.volume.input_spec import InputSpec
from SFDALib.volume.normalisation import Normalisation

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "SFDASegmenter/Resources/Samples"
BUNDLE = SAMPLES / "brain-t1w"
# Of the long ones as many epochs as show what one takes.
SHORTER: dict[str, tuple[str, ...]] = {
    "adami": ("epochs=6", "learning_rate=1e-4"),
    "adaent": ("epochs=6", "learning_rate=1e-4"),
    "self-training": ("rounds=1", "epochs=1", "batch=16"),
    "cbst": ("rounds=1", "epochs=1", "batch=16"),
    "upl": ("epochs=2",),
    "iapc": ("epochs=2",),
    "dg-tta": ("epochs=2",),
}
ORDER = ("none", "early-features", "heal", "adami", "tent", "bn-statistics", "protocontra", "dpl")
RESIDUAL = {
    "_target_": "SFDALib.networks.nnunet.ResidualEncoderUNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "features": [32, 64, 128, 256, 320, 320],
    "strides": [[1, 1, 1], *[[2, 2, 2]] * 5],
    "kernel_sizes": [[3, 3, 3]] * 6,
    "blocks": [1, 3, 4, 6, 6, 6],
    "decoder_convolutions": [1] * 5,
}
MB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--small", action="store_true", help="to try it without a GPU")
    arguments = parser.parse_args()
    device = devices.resolve(arguments.device)
    document: dict[str, Any] = {
        "device": devices.describe(device),
        "precision": "float32, convolutions in TF32 where the GPU has it, but for bfloat16",
        "software": software_versions(),
    }
    parts = {"runs": runs, "cancel": cancel, "nnU-Net": nnunet, "diffusion": diffusion}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = volume(folder / "t2w.nrrd", (64, 64, 8) if arguments.small else (240, 240, 155))
        for part, measure in parts.items():
            rows = document[part] = []

            def keep(row: dict[str, Any], rows: list[dict[str, Any]] = rows) -> None:
                rows.append(row)
                print(json.dumps(row), flush=True)
                text = json.dumps(document, indent=1) + "\n"
                arguments.output.write_text(text, encoding="utf-8")

            measure(image, device, arguments.small, keep)
    for part in parts:
        table = Table(*document[part][0], title=f"{part}, {document['device']}")
        for row in document[part]:
            table.add_row(*map(str, row.values()))
        Console(width=150).print(table)


Keep = Callable[[dict[str, Any]], None]


def volume(path: Path, size: tuple[int, int, int]) -> Path:
    """The demo's T2W volume with so many voxels over the same extent."""
    image = sitk.ReadImage(str(SAMPLES / "patient04_t2w.nii.gz"))
    pairs = zip(image.GetSize(), image.GetSpacing(), size, strict=True)
    spacing = [n * mm / wanted for n, mm, wanted in pairs]
    grid = (size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), spacing)
    sitk.WriteImage(sitk.Resample(image, *grid, image.GetDirection()), str(path))
    return path


def runs(image: Path, device: torch.device, small: bool, keep: Keep) -> None:
    others = [name for name in registry.comparable(registry.METHODS) if name not in ORDER]
    first = seconds_of(lambda: job(image, "none", device))
    for name in ("none", "early-features", "heal") if small else (*ORDER, *others):
        estimated = estimate(image, name, device)
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "out"
            devices.reset_peak_memory(device)
            taken = seconds_of(partial(job, image, name, device, output))
            report = json.loads((output / "report.json").read_text(encoding="utf-8"))
        keep(
            {
                "method": name,
                "options": " ".join(SHORTER.get(name, ())),
                "seconds": round(taken, 2),
                "estimated seconds": round(estimated["seconds"], 1),
                "peak MB": report["peak_memory_mb"].get("gpu"),
                "estimated MB": estimated["memory_mb"],
                "stages": {k: round(v, 2) for k, v in report["seconds"].items()},
                "cold": round(first, 2) if name == "none" else "",
            }
        )


def common(name: str, device: torch.device) -> list[str]:
    """What a run and its estimate are both told."""
    options = [word for each in SHORTER.get(name, ()) for word in ("--option", each)]
    return ["--bundle", str(BUNDLE), "--method", name, "--device", str(device), *options]


def words(
    image: Path, name: str, device: torch.device, output: Path, progress: str = "none"
) -> list[str]:
    files = ["--input", str(image), "--output", str(output)]
    return ["run", *common(name, device), *files, "--progress", progress]


def job(image: Path, name: str, device: torch.device, output: Path | None = None) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        if sfdalib(words(image, name, device, output or Path(folder) / "out")):
            raise SystemExit(f"{name} failed")


def estimate(image: Path, name: str, device: torch.device) -> dict[str, Any]:
    header = sitk.ImageFileReader()
    header.SetFileName(str(image))
    header.ReadImageInformation()
    request = ["estimate", *common(name, device)]
    request += ["--size", ",".join(map(str, header.GetSize())), "--json"]
    request += ["--spacing", ",".join(f"{mm:.4f}" for mm in header.GetSpacing())]
    with contextlib.redirect_stdout(io.StringIO()) as told:
        sfdalib(request)
    return json.loads(told.getvalue())


def cancel(image: Path, device: torch.device, small: bool, keep: Keep) -> None:
    """Of a run that adapts, by the signal that the panel's worker sends."""
    devices.release(device)
    free = free_mb(device)
    for method in ("adami", "heal"):
        with tempfile.TemporaryDirectory() as folder:
            request = words(image, method, device, Path(folder) / "out", progress="json")
            command = [sys.executable, "-m", "SFDALib", *request]
            with subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8"
            ) as process:
                stage = {"adami": '"adapting"', "heal": '"sampling"'}[method]
                assert process.stdout is not None
                if not any(stage in line for line in process.stdout):
                    raise SystemExit(f"{method} never came to {stage}")
                held, begun = free - free_mb(device), time.monotonic()
                process.send_signal(signal.SIGTERM)
                process.wait()
                ended = time.monotonic() - begun
                while free - free_mb(device) > 64 and time.monotonic() - begun < 30:
                    time.sleep(0.01)
            keep(
                {
                    "method": method,
                    "held MB": round(held),
                    "process ended after s": round(ended, 2),
                    "memory free after s": round(time.monotonic() - begun, 2),
                    "exit status": process.returncode,
                }
            )


def free_mb(device: torch.device) -> float:
    return devices.free_mb(device) or 0.0


def labels(model: source.Source, array: np.ndarray, options: InferenceOptions) -> torch.Tensor:
    return predict(model, array, options).argmax(0).cpu()


def nnunet(image: Path, device: torch.device, small: bool, keep: Keep) -> None:
    size = (64, 64, 64) if small else (128, 128, 128)
    model = residual(size, device)
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(image)))[None].astype("float32") / 1000
    for mirror in (False, True):
        options = InferenceOptions(mirror=mirror)
        seconds, peak = measured(
            partial(labels, model, array, options),
            device,
            1 if small else 3,
        )
        keep(
            {
                "window": "x".join(map(str, size)),
                "voxels": "x".join(map(str, array.shape[1:])),
                "mirror": mirror,
                **seconds,
                "peak MB": peak,
            }
        )


def residual(size: tuple[int, int, int], device: torch.device) -> source.Source:
    """A model of nnU-Net's usual size with random weights."""
    torch.manual_seed(0)
    description = Description(
        name="Residual encoder",
        modality="none",
        network=RESIDUAL,
        input_spec=InputSpec(1, None, (None, None, None), Normalisation("zscore"), is_2d=False),
        patch_size=size,
        labels=tuple(Label(value, str(value), (value, 0, 0)) for value in (1, 2)),
    )
    network = build_network(RESIDUAL).to(device).eval().requires_grad_(False)
    return source.Source(description, network, None, None, device, {})


def diffusion(_image: Path, device: torch.device, small: bool, keep: Keep) -> None:
    torch.manual_seed(0)
    side, steps, samples = (32, 2, 1) if small else (128, 15, 6)
    network = ConditionalDiffusionUNet(**MED_DDPM_PRESETS["med-ddpm-128"])
    network = network.to(device).eval().requires_grad_(False)
    condition = torch.zeros((2, side, side, side))
    condition[:, 8:-8, 8:-8, 8:-8] = 1
    x, c = torch.randn((1, 1, side, side, side), device=device), condition[None].to(device)
    t = torch.tensor([17], device=device)
    for precision, half in (("float32", False), ("bfloat16", True)):

        def evaluate(half: bool = half) -> torch.Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=half), torch.no_grad():
                return network(x, t, c)

        seconds, peak = measured(evaluate, device, 1 if small else 10)
        keep({"what": f"one evaluation, {side}^3, {precision}", **seconds, "peak MB": peak})

    drawing = Drawing(
        image_channels=1,
        spatial_dims=3,
        divisor=network.divisor,
        seeds=range(samples),
        sampler="ddpm",
        steps=steps,
        batch_size=samples,
        shared_noise=True,
        device=device,
    )

    def draw() -> None:
        with torch.no_grad():
            for _ in draw_samples(
                network,
                cosine_schedule(250),
                condition,
                drawing,
                progress=lambda done, total: None,
            ):
                pass

    seconds, peak = measured(draw, device, 1)
    keep({"what": f"{samples} samples in {steps} steps, float32", **seconds, "peak MB": peak})
    whole = {"seconds": round(seconds["seconds"] * 250 / steps, 1), "spread": "reckoned"}
    keep({"what": f"{samples} samples in 250 steps, float32", **whole, "peak MB": peak})


def measured(
    work: Callable[[], object], device: torch.device, repeats: int
) -> tuple[dict[str, Any], float | None]:
    """Median and spread of the seconds after a first call, and the peak of the GPU's memory."""
    devices.reset_peak_memory(device)
    work()
    taken = [seconds_of(work, device) for _ in range(repeats)]
    spread = [round(min(taken), 4), round(max(taken), 4)]
    peak = devices.peak_memory_mb(device).get("gpu")
    return {"seconds": round(median(taken), 4), "spread": spread}, peak


def seconds_of(work: Callable[[], object], device: torch.device | None = None) -> float:
    started = time.monotonic()
    work()
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
