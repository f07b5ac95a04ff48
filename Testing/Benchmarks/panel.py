"""How responsive the panel is: opening it, the event loop's worst gap during a run, and cancelling.

    python Testing/Benchmarks/panel.py [--json FILE]

In the stand-in for Slicer, on the shipped sample volume. Opening is the module's import and setup
in a fresh process, without torch. The gap is between two ticks of a 10 ms timer, by what the run
was doing. Cancelling is from the click to the end of the last process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing"), str(ROOT / "Testing/helpers")]

MODULE = ROOT / "SFDASegmenter" / "SFDASegmenter.py"
SAMPLE = MODULE.parent / "Resources" / "Samples" / "patient04_t2w.nii.gz"
TICK = 10  # milliseconds
SHORT = {"samples": 3, "steps": 5}  # of HEAL: as many results as need be shown, quickly
OPENINGS = 5
CANCELS = 3
OPENING = """
import sys, time
sys.path.append("helpers")
import slicer_standin
slicer_standin.start()
from slicer_standin import modules
start = time.perf_counter()
modules.load_scripted_module(sys.argv[1])
modules.widget("SFDASegmenter").enter()
print(time.perf_counter() - start, "torch" in sys.modules)
"""


def opening() -> dict[str, Any]:
    """Seconds of import and setup, of several fresh processes."""
    seconds, torch = [], False
    for _ in range(OPENINGS):
        answer = subprocess.run(
            [sys.executable, "-c", OPENING, str(MODULE)],
            cwd=ROOT / "Testing",
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        took, imported = answer.stdout.split()[-2:]
        seconds.append(float(took))
        torch |= imported == "True"
    return {"seconds": _spread(seconds), "torch_imported": torch}


def wait(until: Callable[[], Any]) -> None:
    import slicer

    while not until():
        slicer.app.processEvents()
        time.sleep(0.001)


def gaps(panel: Any) -> dict[str, float]:
    """The worst gap in ms between two ticks, by the state of a run of HEAL to its end."""
    import qt

    worst: dict[str, float] = {}
    last = [time.perf_counter()]

    def tick() -> None:
        now = time.perf_counter()
        state = panel.logic.run.state.value if panel.logic.run else "starting"
        worst[state] = max(worst.get(state, 0.0), 1000 * (now - last[0]))
        last[0] = now

    timer = qt.QTimer()
    timer.setInterval(TICK)
    timer.connect("timeout()", tick)
    timer.start()
    last[0] = time.perf_counter()
    panel.ui.applyButton.click()
    wait(lambda: panel.logic.run is not None and panel.logic.run.ended)
    for _ in range(20):  # and what the panel does with the results
        wait_one_tick(last)
    timer.stop()
    if panel.logic.run.state.value != "done":
        raise RuntimeError(panel.logic.run.message)
    return {state: round(ms, 1) for state, ms in worst.items()}


def wait_one_tick(last: list[float]) -> None:
    before = last[0]
    wait(lambda: last[0] > before)


def cancelling(panel: Any) -> dict[str, float]:
    """Seconds from the click on Cancel, in the midst of sampling, to the end of all processes."""
    return _spread([_cancel_once(panel) for _ in range(CANCELS)])


def _cancel_once(panel: Any) -> float:
    panel.ui.applyButton.click()
    run = panel.logic.run
    wait(lambda: run.progress.stage == "sampling" and run.progress.step > 2)
    start = time.perf_counter()
    panel.ui.applyButton.click()
    wait(lambda: run.ended)
    return time.perf_counter() - start


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def measure() -> dict[str, Any]:
    import slicer_standin

    reason = slicer_standin.missing()
    if reason:
        raise SystemExit(f"The stand-in for Slicer cannot run here: {reason}")
    results: dict[str, Any] = {
        "device": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "opening": opening(),
    }
    slicer_standin.start()
    import slicer
    from slicer_standin import modules

    modules.load_scripted_module(MODULE)
    widget = modules.widget("SFDASegmenter")
    widget.parent.resize(400, 900)
    widget.parent.show()
    widget.enter()
    panel = widget.panel
    panel.ui.inputVolumeSelector.setCurrentNode(slicer.util.loadVolume(str(SAMPLE)))
    panel.input.choose_example()
    panel.ui.methodComboBox.currentIndex = panel.ui.methodComboBox.findData("heal")
    for name, value in SHORT.items():
        panel.method.field(name).value = value
    results["cancel_seconds"] = cancelling(panel)
    results["worst_gap_ms"] = gaps(panel)
    widget.exit()
    modules.close(widget)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    target = parser.parse_args().json
    results = measure()
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"The panel on {results['device']}")
    for heading in ("what", "figure", "bar"):
        table.add_column(heading)
    opened = results["opening"]["seconds"]
    table.add_row("import and setup", f"{opened['median']} s (to {opened['max']})", "0.5 s")
    table.add_row("torch imported by it", str(results["opening"]["torch_imported"]), "False")
    for state, ms in results["worst_gap_ms"].items():
        table.add_row(f"worst gap, {state}", f"{ms} ms", "100 ms")
    cancel = results["cancel_seconds"]
    table.add_row("cancel", f"{cancel['median']} s (to {cancel['max']})", "3 s")
    Console().print(table)
    if target is not None:
        target.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
