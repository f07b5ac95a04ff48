"""Does a run take the main memory that ``SFDALib.jobs.memory_need`` and ``estimate`` say?

    python Testing/Benchmarks/memory.py --output table.json

Runs methods on phantoms of two sizes, each in a process of its own on the CPU, with a network so
small that it is the arrays that count, on the image's own grid and on one of 3 mm. What a run on
some thousand voxels takes is subtracted. One table on the screen, the same as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing"), str(ROOT / "Testing/helpers")]

import phantoms  # noqa: E402
from heads import geometry_around_head, head  # noqa: E402

from SFDALib.bundle.open_model import open_model  # noqa: E402
from SFDALib.jobs.memory_need import memory_need  # noqa: E402
from SFDALib.methods import registry  # noqa: E402
from SFDALib.results.report import software_versions  # noqa: E402
from SFDALib.volume.conform import shape_on  # noqa: E402
from SFDALib.volume.image_file import ImageFile  # noqa: E402

SHORT = {
    "none": (),
    "heal": ("samples=2", "steps=2"),
    "adami": ("epochs=1",),
    "early-features": ("epochs=1",),
}
SIZES = ((160, 160, 120), (256, 256, 128))
# method, classes, mm of the model's grid or None for the image's own
CASES = (
    *((method, 2, None) for method in SHORT),
    *((method, 2, 3.0) for method in SHORT),
    *((method, 3, None) for method in SHORT),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = {n: phantoms.make(folder / f"{n} classes", 2, n, 1) for n in (2, 3)}
        for method, classes, spacing in CASES:
            regrid(made[classes].bundle, spacing)
            rows += measure(made[classes], method, folder)
    document = {"device": "cpu, 1 thread", "software": software_versions(), "rows": rows}
    arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=140).print(table)


def regrid(bundle: Path, spacing: float | None) -> None:
    """Make the bundle want slices of another spacing, with windows of a usual size."""
    metadata = bundle / "configs/metadata.json"
    content = json.loads(metadata.read_text())
    content["sfda"] |= {"spacing": [spacing, spacing, None], "patch_size": [128, 128]}
    metadata.write_text(json.dumps(content))


def measure(phantom: phantoms.Phantom, method: str, folder: Path) -> list[dict[str, object]]:
    """One row for each size."""
    description = open_model(phantom.bundle).describe()
    small = peak_mb(phantom.bundle, method, phantom.image, folder / "out")
    rows = []
    for size in SIZES:
        geometry = geometry_around_head(size, tuple(90 / n for n in size))
        image = phantoms.write(folder / "image.nrrd", head(geometry).array, geometry)
        on_grid = math.prod(shape_on(description.input_spec, geometry))
        header, judged = ImageFile(image).header, registry.find(method).judged
        need = memory_need(header, on_grid, 1, description.classes, judged, True) / 2**20
        peak = peak_mb(phantom.bundle, method, image, folder / "out")
        rows.append(
            {
                "method": method,
                "classes": description.classes,
                "voxels": math.prod(size),
                "on the model's grid": on_grid,
                "peak MB": round(peak),
                "of a small image": round(small),
                "for the arrays": round(peak - small),
                "predicted": round(need),
                "measured / predicted": round((peak - small) / need, 2),
            }
        )
        print(rows[-1], flush=True)
    return rows


def peak_mb(bundle: Path, method: str, image: Path, out: Path) -> float:
    """Of a run in a process of its own, as its report says."""
    words = ["--bundle", bundle, "--input", image, "--method", method, "--output", out]
    words += ["--device", "cpu", *(word for each in SHORT[method] for word in ("--option", each))]
    subprocess.run(
        [sys.executable, "-m", "SFDALib", "run", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    shutil.rmtree(out)
    return report["peak_memory_mb"]["process"]


if __name__ == "__main__":
    main()
