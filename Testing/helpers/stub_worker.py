"""Stands in for Slicer's Python in tests of the panel: ``-m SFDALib WORDS`` is answered at once,
from what the real command wrote before, see ``recorded_jobs``. Real processes, pipes and files, but
no computation. Commands that were not recorded are handed to the real one.

A job of 100 epochs or more never ends by itself. The methods named in SFDA_FAILING fail; the lines
of SFDA_WARNINGS are said of the image.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

RECORDINGS = Path(os.environ["SFDA_RECORDINGS"])
FAILING = set(filter(None, os.environ.get("SFDA_FAILING", "").split(",")))
WARNINGS = os.environ.get("SFDA_WARNINGS", "").splitlines()
MESSAGE = "it was told to fail"
CHOICE = ("adami", "heal")  # what the automatic choice delivers, and what else it tried
CANCELLED = 130


def say(event: str, **more: Any) -> None:
    print(json.dumps({"event": event, **more}), flush=True)


def watch_input() -> threading.Event:
    """Set when standard input ends, which is how a job is told to stop."""
    ended = threading.Event()

    def read() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    return ended


def go_on_for_ever(ended: threading.Event) -> int:
    step = 0
    while not ended.is_set():
        step += 1
        say("progress", stage="adapting", step=step, total=100_000, seconds_left=3600.0)
        time.sleep(0.02)
    return CANCELLED


def run(job: dict[str, Any], ended: threading.Event) -> int:
    for text in WARNINGS:
        say("warning", image=Path(job["input"][0]).name, text=text)
    if job["options"].get("epochs", 0) >= 100:
        return go_on_for_ever(ended)
    if job["method"] in FAILING:
        say("error", message=MESSAGE)
        print(MESSAGE, file=sys.stderr)
        return 2
    if job["method"] == "auto":
        choose(Path(job["output"]), job["probabilities"])
    else:
        tell(job["method"])
        place(job["method"], Path(job["output"]), probabilities=job["probabilities"])
    say("result", output=job["output"])
    return 0


def tell(method: str) -> None:
    """Say what a recorded method said."""
    for line in (RECORDINGS / f"{method}.jsonl").read_text(encoding="utf-8").splitlines():
        print(line, flush=True)


def choose(output: Path, probabilities: bool) -> None:
    """The recorded AdaMI as the automatic choice beside the recorded HEAL; TENT as left out."""
    summary = json.loads((RECORDINGS / "compare" / "comparison.json").read_text(encoding="utf-8"))
    rows = {row["method"]: row for row in summary["methods"]}
    for number, method in enumerate(CHOICE):
        say("progress", stage="auto", step=number, total=len(CHOICE), method=method)
        tell(method)
    say("progress", stage="auto", step=len(CHOICE), total=len(CHOICE))
    chosen, other = CHOICE
    place(chosen, output, probabilities=probabilities)
    place(other, output / "tried" / other, probabilities=probabilities)
    tried = [{**rows[chosen], "folder": "."}, {**rows[other], "folder": f"tried/{other}"}]
    left_out = [{"method": "tent", "title": "TENT", "why": "it would take about 40 s"}]
    about = {"chosen": chosen, "why": "AdaMI is delivered", "tried": tried, "left_out": left_out}
    path = output / "report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**report, "auto": about}), encoding="utf-8")


def cohort(inputs: Path, output: Path) -> int:
    """The automatic choice on each image of a folder."""
    files = sorted(inputs.iterdir())
    images = []
    for number, file in enumerate(files):
        say("progress", stage="cohort", step=number, total=len(files), image=file.name)
        name = file.name.partition(".")[0]
        choose(output / name, probabilities=False)
        images.append({"image": file.name, "folder": name, "error": None})
    say("progress", stage="cohort", step=len(files), total=len(files))
    summary = {"method": "auto", "images": images, "trust": None}
    (output / "cohort.json").write_text(json.dumps(summary), encoding="utf-8")
    say("result", output=str(output), done=len(files))
    return 0


def compare(job: dict[str, Any]) -> int:
    """Every method of the job, with the results of one that was recorded where it was not."""
    recorded, output = RECORDINGS / "compare", Path(job["output"])
    titles = json.loads((RECORDINGS / "titles.json").read_text(encoding="utf-8"))
    summary = json.loads((recorded / "comparison.json").read_text(encoding="utf-8"))
    rows = {row["method"]: row for row in summary["methods"]}
    partial = output.with_name("partial")
    shutil.copytree(recorded, partial, ignore=lambda _f, names: [n for n in names if n in rows])
    summary["methods"] = []
    for number, method in enumerate(job["methods"]):
        say("progress", stage="compare", step=number, total=len(job["methods"]), method=method)
        row = {**rows.get(method, rows["adami"]), "method": method, "title": titles[method]}
        if method in FAILING:
            say("failed", method=method, message=MESSAGE)
            print(f"{method}: {MESSAGE}", file=sys.stderr)
            row["folder"] = None
        else:
            place(method if method in rows else "adami", partial / method, titles[method], method)
            row["folder"] = method
        summary["methods"].append(row)
    (partial / "comparison.json").write_text(json.dumps(summary), encoding="utf-8")
    partial.rename(output)
    say("result", output=str(output))
    return 0


def place(
    recorded: str, output: Path, title: str = "", method: str = "", probabilities: bool = False
) -> None:
    """Write a recorded result, under another method's name if one is given."""
    partial = output.with_name(f"{output.name}.partial")
    partial.parent.mkdir(exist_ok=True)
    shutil.copytree(RECORDINGS / recorded, partial)
    if not probabilities:
        (partial / "probabilities.nrrd").unlink()
    if title:
        path = partial / "report.json"
        report = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**report, "title": title, "method": method}), encoding="utf-8")
    partial.rename(output)


def main(words: list[str]) -> int:
    command = words[0]
    if command in ("devices", "estimate"):
        print((RECORDINGS / f"{command}.json").read_text(encoding="utf-8"))
        return 0
    if command in ("run", "compare"):
        job = json.loads(Path(words[words.index("--job") + 1]).read_text(encoding="utf-8"))
        ended = watch_input()
        return run(job, ended) if command == "run" else compare(job)
    if command == "cohort":
        said = dict(itertools.pairwise(words))
        if said["--method"] == "auto" and said["--adapt"] != "once":
            return cohort(Path(said["--input"]), Path(said["--output"]))
    real = [os.environ["SFDA_REAL_PYTHON"], "-m", "SFDALib", *words]
    return subprocess.run(real, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[3:]))  # after -m SFDALib
