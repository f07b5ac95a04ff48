"""Run many thousands of *valid* models from elsewhere, and compare every label with the value that
an independent computation gives.

    python Testing/Benchmarks/fuzz_models.py [--inputs 2000] [--reader NAME ...]

The models and the computations are those of Testing/valid_monai.py (MONAI's own pipeline) and
Testing/valid_nnunet.py. A refusal counts as a failure: these models are valid. Prints a table and
keeps the row of each reader that ran in fuzz_models.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "helpers")]

ALIKE = 0.002  # of the voxels may differ: sums in another order turn a tie


def compare(module: Any, seed: int) -> str:
    """What became of one model: "equal", or what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            share = module.differing(module.make(Path(folder) / "model", seed))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__} in {Path(where.filename).name}: {error}"[:200]
    return "equal" if share < ALIKE else f"{100 * share:.1f} % of the voxels differ"


def run(name: str, module: Any, inputs: int, first: int) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    failures: list[str] = []
    started = time.monotonic()
    for seed in range(first, first + inputs):
        result = compare(module, seed)
        counts["equal" if result == "equal" else "failed"] += 1
        if result != "equal":
            failures.append(f"seed {seed}: {result}")
            print(name, failures[-1], flush=True)
    return {
        "reader": name,
        "inputs": inputs,
        "first_seed": first,
        "equal": counts["equal"],
        "failures": failures[:20],
        "seconds": round(time.monotonic() - started, 1),
        "machine": platform.platform(),
        "python": platform.python_version(),
    }


def main() -> None:
    import torch
    import valid_monai
    import valid_nnunet

    readers = {"MONAI bundle": valid_monai, "nnU-Net model": valid_nnunet}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--reader", nargs="+", choices=readers, default=list(readers))
    arguments = parser.parse_args()
    logging.disable()
    torch.set_num_threads(1)
    path = Path(__file__).with_suffix(".json")
    for name in arguments.reader:
        row = run(name, readers[name], arguments.inputs, arguments.first)
        print(f"{name}: {row['equal']} of {row['inputs']} equal, {row['seconds']:.0f} s")
        rows = json.loads(path.read_text())["rows"] if path.exists() else []
        kept = {one["reader"]: one for one in [*rows, row]}
        path.write_text(
            json.dumps({"rows": [kept[r] for r in readers if r in kept]}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
