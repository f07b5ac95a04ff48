"""The panel's worker process: its events, and its end whatever happens. No Slicer is needed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from SFDASegmenterLib import library
from SFDASegmenterLib import worker as worker_module
from SFDASegmenterLib.worker import CANCELLED, Progress, Query, Worker

STUBBORN = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
print("started", flush=True)
time.sleep(600)
"""


def wait(until: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Let workers run a script in the place of SFDALib; its first argument is a file to write."""

    def replace(script: str) -> Path:
        package = tmp_path / "fake" / "SFDALib"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(script)
        monkeypatch.setattr(library, "root", lambda: tmp_path / "fake")
        return tmp_path / "written"

    return replace


def test_a_job_that_cannot_be_done_ends_with_its_status_and_one_line(tmp_path: Path) -> None:
    worker = Worker(["run", "--job", str(tmp_path / "none.json"), "--progress", "json"])
    wait(lambda: worker.status() is not None)
    assert worker.status() == 2
    assert "none.json" in worker.log
    assert [event["event"] for event in worker.events()] == ["error"]


def test_a_query_gives_the_answer_of_a_short_command() -> None:
    query = Query(["methods"])
    assert query.answer() is None
    wait(lambda: query.ended)
    assert {"heal", "adami"} <= {method["name"] for method in query.answer()}


def test_a_query_that_fails_has_no_answer_but_a_log(tmp_path: Path) -> None:
    query = Query(["inspect", str(tmp_path)])
    wait(lambda: query.ended)
    assert query.answer() is None
    assert "metadata.json" in query.log


def test_lines_that_are_no_events_go_to_the_log(instead: Callable[[str], Path]) -> None:
    instead(
        "print('{\"event\": \"started\"}'); print('a library greets'); print('[1]'); print('{}')"
    )
    worker = Worker(["run"])
    wait(lambda: worker.status() is not None)
    assert worker.events() == [{"event": "started"}]
    assert worker.log.splitlines() == ["a library greets", "[1]", "{}"]


def test_what_a_process_said_last_is_not_lost(instead: Callable[[str], Path]) -> None:
    instead('import sys\nfor i in range(5000): print(\'{"event": "e"}\')\nsys.exit(3)')
    worker = Worker(["run"])
    wait(lambda: worker.status() is not None)
    assert worker.status() == 3
    assert len(worker.events()) == 5000


@pytest.mark.skipif(os.name == "nt", reason="reads /proc")
@pytest.mark.parametrize("way", ["cancel", "end"])
def test_a_process_that_will_not_stop_is_killed_with_its_children(
    instead: Callable[[str], Path], way: str
) -> None:
    written = instead(STUBBORN)
    worker = Worker([str(written)])
    wait(lambda: worker.lines() == ["started"])
    child = int(written.read_text())
    assert alive(child)
    getattr(worker, way)()
    wait(lambda: worker.status() is not None)
    wait(lambda: not alive(child))


def test_a_real_job_that_is_cancelled_says_so_and_leaves_no_folder(
    tiny_bundle: Path, head_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "GRACE", 60.0)  # on a busy machine, too
    words = ["run", "--bundle", str(tiny_bundle), "--input", str(head_file), "--method", "adami"]
    words += ["--option", "epochs=500", "--option", "patience=500"]
    worker = Worker([*words, "--output", str(tmp_path / "out"), "--progress", "json"])
    wait(lambda: any(event["event"] == "progress" for event in worker.events()))
    worker.cancel()
    worker.cancel()  # a second click changes nothing
    wait(lambda: worker.status() is not None)
    assert worker.status() == CANCELLED
    assert list(tmp_path.iterdir()) == []


def test_a_job_ends_when_its_parent_dies(
    tiny_bundle: Path, head_file: Path, tmp_path: Path
) -> None:
    words = ["run", "--bundle", str(tiny_bundle), "--input", str(head_file), "--method", "adami"]
    words += ["--option", "epochs=500", "--option", "patience=500"]
    worker = Worker([*words, "--output", str(tmp_path / "out"), "--progress", "json"])
    wait(lambda: any(event["event"] == "progress" for event in worker.events()))
    worker.close_input()  # as the system does when a process dies
    wait(lambda: worker.status() is not None)
    assert worker.status() == CANCELLED


def test_progress_keeps_what_an_event_tells() -> None:
    event = {"event": "progress", "stage": "sampling", "step": 2, "total": 9, "seconds_left": 4.5}
    assert Progress.of(event) == Progress("sampling", 2, 9, 4.5)
