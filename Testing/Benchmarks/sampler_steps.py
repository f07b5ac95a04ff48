"""Are few sampling steps enough? HEAL at several samplers and step counts, in one run.

    python Testing/Benchmarks/sampler_steps.py --bundle B --output table.json \
        --case image.nii.gz reference.nii.gz [--case ...] [--samples 3] [--every 1]

For each sampler and step count: Dice of HEAL's result (the segmentation of the selected sample)
against the reference and against that of 250-step ancestral sampling, the best S_i, the
evaluations of the denoiser, and the seconds of drawing. One table on the screen, the same as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from SFDALib.bundle import source
from SFDALib.bundle.open_model import open_model
from SFDALib.evaluation.metrics import dice
from SFDALib.inference.predict import predict
from SFDALib.machine import devices
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.results.report import software_versions
from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Geometry, Volume, int_triple
from SFDALib.volume.image_file import read_labels, read_volume

SETTINGS = (
    *(("ddpm", steps) for steps in (250, 5, 10, 15, 20, 50)),
    *(("dpm-solver++", steps) for steps in (10, 15, 20, 50)),
    ("ddim", 20),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--case", type=Path, nargs=2, action="append", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="use every n-th slice only")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = devices.resolve(arguments.device)
    model = open_model(arguments.bundle).load(device)
    rows = []
    for image, reference in arguments.case:
        rows += measure(model, image, reference, arguments.samples, arguments.every)
    document = {
        "device": devices.describe(device),
        "precision": "float32",
        "samples": arguments.samples,
        "every_nth_slice": arguments.every,
        "software": software_versions(),
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    table = Table(*rows[0], title=f"{document['device']}, {arguments.samples} samples")
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)


def measure(
    model: source.Source, image: Path, reference: Path, samples: int, every: int
) -> list[dict[str, object]]:
    """One row for each setting on one image."""
    method = registry.find("heal")
    volume = thinned(read_volume(image), every)
    truth = thinned(read_labels(reference), every).array[0]
    conformed = conform(volume, model.description.input_spec)
    options = method.values({}, PUBLISHED)
    probabilities = predict(model, conformed.array, options)
    ancestral, rows = None, []
    for sampler, steps in SETTINGS:
        chosen = replace(options, sampler=sampler, steps=steps, samples=samples)
        calls = 0

        def count(stage: str, step: int, total: int, **details: object) -> None:
            nonlocal calls
            calls = total if stage == "sampling" else calls

        started = time.monotonic()
        result = registry.entry(method)(model, conformed, probabilities, chosen, 0, count)
        seconds = time.monotonic() - started
        labels = conformed.restore_labels(result.probabilities) > 0
        ancestral = labels if ancestral is None else ancestral
        scores = [sample["score"] for sample in result.report["samples"]]
        rows.append(
            {
                "image": image.name,
                "sampler": sampler,
                "steps": steps,
                "denoiser calls": calls,
                "Dice to reference": dice(labels, truth > 0),
                "Dice to ddpm 250": dice(labels, ancestral),
                "best S": max(scores),
                "mean S": float(np.mean(scores)),
                "seconds": round(seconds, 1),
            }
        )
    return rows


def thinned(volume: Volume, every: int) -> Volume:
    """Every n-th slice, so that a CPU can do 250 steps in reasonable time."""
    old = volume.geometry
    array = volume.array[:, ::every]
    spacing = (*old.spacing[:2], old.spacing[2] * every)
    size = int_triple(array.shape[:0:-1])
    return Volume(np.ascontiguousarray(array), Geometry(size, spacing, old.origin, old.direction))


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
