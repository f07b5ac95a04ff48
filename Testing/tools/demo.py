"""The demo: what the command line makes of the sample volumes, measured and pictured.

The automatic choice, which a user gets by default, with what else it tried, and HEAL beside it.

Runs in the environment that dev.py makes. Knows the samples from their samples.json alone, and
SFDALib from its command line alone, as a user does. Needs no network.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "SFDASegmenter" / "Resources" / "Samples"
RESULTS = ROOT / "demo_results"
MARKER = RESULTS / "made-by-demo.txt"
BASELINE = "none"  # the source model's own result, which every run keeps
AUTO = "auto"
SEGMENTATION = "segmentation.seg.nrrd"
METHODS = {
    AUTO: ("--time-limit", 60),  # seconds: the whole demo ends within four minutes on two cores
    "heal": ("--gate", "off"),  # whatever the judge says of it
}
TOLERANCE_MM = 2.0  # of the surface Dice

console = Console(highlight=False)


@dataclass
class Run:
    """One method on one volume: what it took and, per class, how near it is to the reference.

    Args:
        segmentation: the file, below the repository's folder.
        seconds: in all; of what the automatic choice tried, without the start of Python.
        verdict: the judge's, in a word; None where there is none.
        classes: by a label's value, the measures of `SFDALib evaluate`.
    """

    case: str
    method: str
    segmentation: str
    seconds: float | None = None
    verdict: str | None = None
    error: str | None = None
    classes: dict[str, dict[str, Any]] = field(default_factory=dict)


def main() -> int:
    sys.stdout.reconfigure(errors="replace")  # a redirected Windows console may lack the arrow
    samples = json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))
    if MARKER.exists():
        shutil.rmtree(RESULTS)
    elif RESULTS.exists():
        print(f"{RESULTS} was not made by the demo: rename or remove it.", file=sys.stderr)
        return 2
    RESULTS.mkdir()
    MARKER.write_text("The next demo replaces this folder.\n", encoding="utf-8")

    runs: list[Run] = []
    for case in samples["cases"]:
        of_case = [run for method in METHODS for run in segment(samples, case, method)]
        done = [run for run in of_case if run.error is None]
        if done:
            folder = Path(done[0].segmentation).parent
            source = Run(case["name"], BASELINE, f"{folder.as_posix()}/source_{SEGMENTATION}")
            of_case.insert(0, source)
            measure(case, [source, *done])
        runs += of_case
    summary = json.dumps([asdict(run) for run in runs], indent=2)
    (RESULTS / "summary.json").write_text(summary + "\n", encoding="utf-8")
    report(runs)
    return 1 if any(run.error for run in runs) else 0


def segment(samples: dict[str, Any], case: dict[str, str], method: str) -> list[Run]:
    """Run a method on a volume; of the automatic choice, what else it tried follows."""
    console.rule(f"{escape(case['name'])}: {method}", align="left", style="dim")
    output = case_folder(case) / method
    output.parent.mkdir(exist_ok=True)
    started = time.monotonic()
    error = sfdalib(
        "run",
        *("--bundle", SAMPLES / samples["bundle"]),
        *("--input", SAMPLES / case["image"]),
        *("--method", method),
        *("--output", output),
        *("--device", "auto"),
        *METHODS[method],
        *("--progress", "auto"),
    )
    seconds = round(time.monotonic() - started, 1)
    folder = output.relative_to(ROOT).as_posix()
    if error is not None:
        return [Run(case["name"], method, f"{folder}/{SEGMENTATION}", seconds, error=error)]
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    title = f"{AUTO}: {report['method']}" if method == AUTO else method
    made = Run(case["name"], title, f"{folder}/{SEGMENTATION}", seconds, verdict(report))
    tried = [
        Run(
            case["name"],
            row["method"],
            f"{folder}/{row['folder']}/{SEGMENTATION}",
            row["seconds_total"],
            verdict(row),
        )
        for row in report.get("auto", {}).get("tried", [])
        if row["folder"] not in (None, ".")
    ]
    return [made, *tried]


def verdict(facts: dict[str, Any]) -> str | None:
    """The judge's verdict in a word, where there is one."""
    return facts["trust"] and facts["trust"]["decision"]


def measure(case: dict[str, str], runs: list[Run]) -> None:
    """Compare a volume's segmentations with its reference, all in one call."""
    measures = case_folder(case) / "evaluation.json"
    results = [ROOT / run.segmentation for run in runs]
    error = sfdalib(
        "evaluate",
        *("--reference", SAMPLES / case["reference"]),
        *(word for result in results for word in ("--result", result)),
        *("--tolerance-mm", TOLERANCE_MM),
        *("--json", measures),
    )
    found = [] if error else json.loads(measures.read_text(encoding="utf-8"))["results"]
    by_path = {Path(entry["result"]).resolve(): entry["classes"] for entry in found}
    for run, result in zip(runs, results, strict=True):
        run.error = error
        run.classes = by_path.get(result.resolve(), {})


def case_folder(case: dict[str, str]) -> Path:
    return RESULTS / case["image"].split(".")[0]


def sfdalib(*arguments: object) -> str | None:
    """Run SFDALib's command line; the last line that it said on standard error if it failed."""
    command = [sys.executable, "-m", "SFDALib", *map(str, arguments)]
    last = ""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # evaluate's own table: the demo prints one of all
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)
            last = line.strip() or last
    return None if process.returncode == 0 else last or f"exit status {process.returncode}"


def report(runs: list[Run]) -> None:
    """Print a table for each volume and structure, what failed, and where the pictures are."""
    console.print(
        f"\nNo adaptation → adapted, against the reference; surface Dice at {TOLERANCE_MM:g} mm"
    )
    before = {run.case: run.classes for run in runs if run.method == BASELINE}
    tables: dict[tuple[str, str], Table] = {}
    for run in runs:
        for label, after in run.classes.items():
            source = None if run.method == BASELINE else before[run.case].get(label, {})
            table = tables.setdefault((run.case, label), new_table(run.case, after))
            table.add_row(
                run.method,
                change(source, after, "dice", 3),
                change(source, after, "surface_dice", 3),
                change(source, after, "predicted_ml", 0),
                run.verdict or "–",
                number(run.seconds, 0),
            )
    for table in tables.values():
        console.print(table)
    for run in runs:
        if run.error:
            console.print(f"[red]Failed: {escape(f'{run.case}, {run.method}: {run.error}')}[/red]")
    for picture in sorted(RESULTS.glob("*/*/overview.png")):
        console.print(f"Picture: {picture.relative_to(ROOT).as_posix()}")
    console.print("All figures: demo_results/summary.json")


def new_table(case: str, measures: dict[str, Any]) -> Table:
    """An empty table for one structure of one volume, for 80 columns."""
    title = f"{case}, {measures['name']}: reference {number(measures['reference_ml'], 0)} ml"
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("Method")
    for heading in ("Dice", "Surface Dice", "Volume, ml", "Verdict", "Seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def change(source: dict[str, Any] | None, after: dict[str, Any], measure: str, digits: int) -> str:
    """'before → after', or the one figure of the run without adaptation."""
    adapted = number(after[measure], digits)
    return adapted if source is None else f"{number(source.get(measure), digits)} → {adapted}"


def number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
