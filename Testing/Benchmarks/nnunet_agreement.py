"""Does an imported nnU-Net model say what nnU-Net says, and how long does it take? In one run.

    python Testing/Benchmarks/nnunet_agreement.py --output table.json [--steps 40] [--repeats 3]

Needs nnunetv2. For each kind of model, with random weights and with briefly trained ones, on an
image that it was not trained on, mirroring and windows as nnU-Net has them by default:

agree       share of the image's voxels with the same label
agree f32   the same where nnU-Net's sums of windows are kept in single precision, too; as it is it
            keeps them in half precision, which rounds coarsely at the image's edges
p max f32   the largest difference of any probability on the model's grid, against the latter
p max       the same against nnU-Net as it is
seconds     array to labels, median of the repeats, models loaded before
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nnunet_models import SETTINGS, Setting, image, write_model

from SFDALib.bundle.open_model import open_model
from SFDALib.inference.predict import predict
from SFDALib.jobs.import_model import import_model
from SFDALib.machine import devices
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.results.report import software_versions
from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Volume

OPTIONS = InferenceOptions(overlap=0.5, mirror=True)  # nnU-Net's defaults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=40, help="of the brief training")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    arguments = parser.parse_args()
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(variable, tempfile.gettempdir())
    rows = []
    for name in arguments.only:
        for steps in (0, arguments.steps):
            with tempfile.TemporaryDirectory() as folder:
                row = measure(Path(folder), SETTINGS[name], steps, arguments.repeats)
            rows.append({"model": name, "weights": f"{steps} steps" if steps else "random", **row})
            print(rows[-1], file=sys.stderr)
    document = {
        "device": f"{_processor()}, {devices.describe(torch.device('cpu'))}",
        "precision": "float32",
        "repeats": arguments.repeats,
        "software": {**software_versions(), "nnunetv2": version("nnunetv2")},
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    table = Table(*rows[0], title=document["device"])
    for row in rows:
        table.add_row(*(f"{v:.6g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)


def measure(folder: Path, setting: Setting, steps: int, repeats: int) -> dict[str, Any]:
    """One row."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    folds = (0, 1) if setting.labels else (0,)
    model_folder = write_model(folder / "model", setting, folds, steps)
    import_model(model_folder, folder / "bundle")
    volume, _ = image(setting, seed=1)
    with contextlib.redirect_stdout(io.StringIO()):
        peer = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
        peer.initialize_from_trained_model_folder(str(model_folder), None)
    model = open_model(folder / "bundle").load(torch.device("cpu"))

    def ours() -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
        conformed = conform(volume, model.description.input_spec)
        probabilities = predict(model, conformed.array, OPTIONS)
        return conformed.restore_labels(probabilities), conformed.array, probabilities

    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(repeats):
        (labels, array, p), seconds = timed(ours)
        mine.append(seconds)
        reference, seconds = timed(lambda: _peer_labels(peer, volume))
        theirs.append(seconds)
    with _single_precision():
        exact = _peer_labels(peer, volume)
        exact_p = _peer_probabilities(peer, volume, array)
    peer_p = _peer_probabilities(peer, volume, array)
    p = _of_channels(p, model.description.input_spec.regions)
    return {
        "agree": float((labels == reference).mean()),
        "agree f32": float((labels == exact).mean()),
        "p max f32": float((p - exact_p).abs().max()),
        "p max": float((p - peer_p).abs().max()),
        "classes": len(np.unique(reference)),
        "nnU-Net s": round(statistics.median(theirs), 2),
        "ours s": round(statistics.median(mine), 2),
        "nnU-Net s, spread": [round(min(theirs), 2), round(max(theirs), 2)],
        "ours s, spread": [round(min(mine), 2), round(max(mine), 2)],
    }


def _processor() -> str:
    """The processor's name, where Linux tells it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    start = time.monotonic()
    return action(), time.monotonic() - start


def _peer_labels(peer: Any, volume: Volume) -> np.ndarray:
    spacing = {"spacing": list(volume.geometry.spacing_kji)}
    return np.asarray(peer.predict_single_npy_array(volume.array, spacing))


def _peer_probabilities(peer: Any, volume: Volume, array: np.ndarray) -> torch.Tensor:
    """nnU-Net's probabilities of its output channels, on its grid; the image there must be ours."""
    spacing = {"spacing": list(volume.geometry.spacing_kji)}
    preprocessor = peer.configuration_manager.preprocessor_class(verbose=False)
    prepared, _, _ = preprocessor.run_case_npy(
        volume.array, None, spacing, peer.plans_manager, peer.configuration_manager,
        peer.dataset_json,
    )  # fmt: skip
    np.testing.assert_allclose(prepared, array, atol=1e-4)
    logits = peer.predict_logits_from_preprocessed_data(torch.from_numpy(prepared))
    return peer.label_manager.apply_inference_nonlin(logits)


def _of_channels(p: torch.Tensor, regions: tuple[Any, ...]) -> torch.Tensor:
    """Probabilities of the output channels from those of the classes."""
    if not regions:
        return p
    before, channels = p[0].clone(), [p[0]] * len(regions)
    for region in regions:
        channels[region.channel] = p[region.label] / (before + p[region.label])
        before += p[region.label]
    return torch.stack(channels)


@contextlib.contextmanager
def _single_precision() -> Iterator[None]:
    """Let nnU-Net keep its sums of windows in single precision."""
    from nnunetv2.inference import predict_from_raw_data as module

    weights = functools.partial(module.compute_gaussian.__wrapped__, dtype=torch.float32)
    with (
        mock.patch.object(module, "compute_gaussian", weights),
        mock.patch.object(torch, "half", torch.float32),
    ):
        yield


if __name__ == "__main__":
    main()
