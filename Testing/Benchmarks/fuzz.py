"""Read many thousands of hostile and damaged files with every reader, and count what comes of it;
and valid files of every kind, which must be read right, or refused, or read with a note.

    python Testing/Benchmarks/fuzz.py [--inputs 10000] [--reader NAME ...] [--failures FOLDER]

Every reader has a process of its own, which may take 4 GiB of address space beyond what the
libraries have: a header that promises a terabyte fails there. Input that ends the process itself is
kept, too, and the reader goes on with the next. Prints a table and keeps the row of each reader
that ran in fuzz.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "helpers")]

SPACE = 4 << 30
CHUNK = 2000  # inputs a process


def readers(place: Path) -> dict[str, Any]:
    """Every reader, by name."""
    import hostile
    import hostile_models
    import valid_files

    return {
        **hostile.readers(place),
        **hostile_models.readers(place),
        **valid_files.readers(),
    }


def fuzz(name: str, count: int, seed: int, folder: str, answers: Any) -> None:
    """Read ``count`` inputs of one reader and put their outcomes; in a process of its own."""
    import faulthandler
    import logging

    import hostile
    import torch
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    logging.disable()
    torch.set_num_threads(1)
    place = Path(folder)
    os.chdir(place)  # where a relative path leads
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # ITK's and libjpeg's own words
        os.dup2(nowhere.fileno(), 2)
    with tempfile.TemporaryDirectory(dir=place) as made:
        reader = readers(Path(made))[name]
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
        resource.setrlimit(
            resource.RLIMIT_AS, (pages * resource.getpagesize() + SPACE, resource.RLIM_INFINITY)
        )
        inputs = 0

        @seeded(seed)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(reader.files)
        def read(files: dict[str, bytes]) -> None:
            nonlocal inputs
            inputs += 1
            if inputs > count:
                return
            faulthandler.dump_traceback_later(60, exit=True, file=log)
            result = hostile.outcome(reader, files, place)
            faulthandler.cancel_dump_traceback_later()
            kept = None if result in ("accepted", "refused") else files
            answers.put((result, kept))

        with open(place / "stack.txt", "w", encoding="utf-8") as log:
            read()
    answers.put(("end", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10))


def run(name: str, inputs: int, failures: Path | None) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    seed, started, peak = 0, time.monotonic(), 0
    context = multiprocessing.get_context("spawn")
    while counts.total() < inputs:
        seed += 1
        with tempfile.TemporaryDirectory() as folder:
            answers = context.SimpleQueue()
            share = min(CHUNK, inputs - counts.total())
            process = context.Process(target=fuzz, args=(name, share, seed, folder, answers))
            process.start()
            while True:
                if answers.empty():
                    if not process.is_alive() and answers.empty():
                        break
                    time.sleep(0.005)
                    continue
                result, more = answers.get()
                if result == "end":
                    peak = max(peak, more)
                    break
                counts[result] += 1
                if more is not None and counts[result] == 1:
                    keep(failures, name, result, more)
            process.join()
            if process.exitcode:
                result = f"the process ended with status {process.exitcode}"
                counts[result] += 1
                left = Path(folder) / "folder"
                files = {
                    str(f.relative_to(left)): f.read_bytes() for f in left.rglob("*") if f.is_file()
                }
                keep(failures, name, f"{result} {seed}", files)
    bad = {k: n for k, n in counts.items() if k not in ("accepted", "refused")}
    return {
        "reader": name,
        "inputs": counts.total(),
        "accepted": counts["accepted"],
        "refused": counts["refused"],
        "failures": bad,
        "peak_mb": peak,
        "seconds": round(time.monotonic() - started, 1),
    }


def keep(failures: Path | None, name: str, result: str, files: dict[str, bytes]) -> None:
    if failures is None:
        return
    words = "".join(c if c.isalnum() else "-" for c in f"{name} {result}")[:100]
    for file, content in files.items():
        path = failures / words / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def record(row: dict[str, Any], order: list[str]) -> None:
    """Put the row into fuzz.json, in place of an earlier one of the same reader."""
    path = Path(__file__).with_suffix(".json")
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    row = {**row, "machine": platform.platform(), "python": platform.python_version()}
    kept = {one["reader"]: one for one in [*rows, row]}
    ordered = [kept[name] for name in order if name in kept]
    path.write_text(json.dumps({"rows": ordered}, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="of each reader")
    parser.add_argument("--reader", action="append", help="this one alone")
    parser.add_argument("--failures", type=Path, help="where one input of each failure is kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        every = list(readers(Path(folder)))
    print(f"{'reader':24} {'inputs':>7} {'accepted':>8} {'refused':>7} {'failures':>8} {'MB':>6} s")
    for name in arguments.reader or every:
        row = run(name, arguments.inputs, arguments.failures)
        record(row, every)
        failed = sum(row["failures"].values())
        print(
            f"{name:24} {row['inputs']:7} {row['accepted']:8} {row['refused']:7} {failed:8}"
            f" {row['peak_mb']:6} {row['seconds']:.0f}",
            flush=True,
        )
        for words, count in sorted(row["failures"].items(), key=lambda item: -item[1]):
            print(f"    {count:5} x {words}", flush=True)


if __name__ == "__main__":
    main()
