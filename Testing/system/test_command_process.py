"""The command line as a process: its events, its cancellation, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_words import changed, run_words
from paths import ROOT
from phantoms import Phantom

from SFDALib.__main__ import main
from SFDALib.adaptation import adami
from SFDALib.errors import Cancelled
from SFDALib.jobs import events

# --- Events ------------------------------------------------------------------------------------


def follow(text: str) -> list[dict[str, Any]]:
    """The events of a run, checked: valid JSON, known names, steps that only grow."""
    told = [json.loads(line) for line in text.splitlines()]
    reached: dict[str, int] = {}
    for event in told:
        assert event["event"] in ("started", "progress", "failed", "result", "error")
        if event["event"] == "progress":
            assert reached.get(event["stage"], 0) <= event["step"] <= event["total"]
            assert event["seconds_left"] is None or event["seconds_left"] >= 0
            reached[event["stage"]] = event["step"]
    return told


def test_a_run_tells_its_progress_as_json_lines(
    phantom: Callable[..., Phantom], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    bundle, image = phantom().bundle, phantom().image
    request = run_words(bundle, image, "heal", tmp_path / "out", "samples=2", "steps=20")
    capsys.readouterr()
    assert main([*request, "--progress", "json"]) == 0
    told = follow(capsys.readouterr().out)
    assert told[0]["event"] == "started" and told[0]["job"]["options"]["samples"] == 2
    stages = [event["stage"] for event in told if event["event"] == "progress"]
    drawing = ["denoising", "sampling", "segmenting the sample"]
    expected = ["reading", "source model", *drawing, "judging", "restoring and writing"]
    assert list(dict.fromkeys(stages)) == expected
    for stage in expected:  # each is told to its end
        last = [event for event in told if event.get("stage") == stage][-1]
        assert last["step"] == last["total"] and last["seconds_left"] == 0
    result = told[-1]
    assert (result["event"], result["output"]) == ("result", str(tmp_path / "out"))
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert result["volumes"] == report["volumes"]


def test_a_refusal_is_an_event_too(
    request_words: list[str], capsys: pytest.CaptureFixture, refusal: Callable
) -> None:
    line = refusal([*changed(request_words, "--input", "missing.nrrd"), "--progress", "json"])
    error = follow(capsys.readouterr().out)[-1]
    assert error == {"event": "error", "message": line.removeprefix("SFDALib: "), "status": 2}


def test_the_time_left_follows_the_pace_of_the_stage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr(events.time, "monotonic", lambda: now)
    reporter = events.JsonReporter()
    for step in (1, 2, 3, 4):
        reporter("adapting", step, 4, loss=float("nan") if step == 2 else 0.5)
        reporter("cohort", step, 40)  # another stage in between
        now += 10
    reporter("adapting", 1, 4)  # of the next image
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    adapting = [event for event in told if event["stage"] == "adapting"]
    assert [event["seconds_left"] for event in adapting] == [None, 20, 10, 0, None]
    assert adapting[1]["loss"] is None  # JSON has no NaN
    cohort = [event["seconds_left"] for event in told if event["stage"] == "cohort"]
    assert cohort == [None, 380, 370, 360]


def test_steps_that_follow_at_once_are_told_ten_times_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr(events.time, "monotonic", lambda: now)
    reporter = events.JsonReporter()
    for step in range(1001):
        reporter("sampling", step, 1000)
        now += 0.001
    told = [json.loads(line)["step"] for line in capsys.readouterr().out.splitlines()]
    assert 10 <= len(told) <= 13 and told[0] == 0 and told[-1] == 1000


def test_a_bar_shows_numbers_and_words_and_lets_lines_through(
    request_words: list[str], capsys: pytest.CaptureFixture
) -> None:
    with events.reporter("bar") as reporter:
        reporter("cohort", 1, 2, image="a [b].nrrd", loss=0.123456)
    shown = capsys.readouterr()
    assert "image a [b].nrrd loss 0.1235" in shown.err and shown.out == ""
    assert main([*request_words, "--progress", "bar"]) == 0
    shown = capsys.readouterr()
    assert "source model" in shown.err and shown.out == ""


def test_of_several_processes_the_first_alone_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert type(events.reporter("json")) is events.Reporter


# --- Processes ---------------------------------------------------------------------------------


class Process:
    """The command line in a process group of its own."""

    def __init__(self, request: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "SFDALib", *request, "--progress", "json"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        self.told: list[dict[str, Any]] = []

    def until(self, reached: Callable[[dict[str, Any]], bool]) -> None:
        for line in self._process.stdout:
            self.told.append(json.loads(line))
            if reached(self.told[-1]):
                return
        pytest.fail(f"ended too early: {self.told[-1:]} {self._process.stderr.read()}")

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def stop_listening(self) -> None:
        self._process.stdout.close()

    def end(self) -> tuple[int, str]:
        """Exit status and standard error, once it has ended and left no process behind."""
        listening = not self._process.stdout.closed
        out = self._process.stdout.read() if listening else ""
        self.told += [json.loads(line) for line in out.splitlines()]
        errors = self._process.stderr.read()
        status = self._process.wait(60)
        with pytest.raises(ProcessLookupError):
            os.killpg(self._process.pid, 0)
        return status, errors

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(60)
        self._process.stderr.close()
        self._process.stdout.close()


@pytest.fixture
def start() -> Iterator[Callable[[list[str]], Process]]:
    """``start(request)``; what still runs at the end of the test is killed."""
    if os.name == "nt":
        pytest.skip("Windows has neither these signals nor process groups")
    processes: list[Process] = []

    def begin(request: list[str]) -> Process:
        processes.append(Process(request))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()


ENDLESS = {
    "heal": ("samples=64", "steps=50", "sampler=ddpm"),
    "adami": ("epochs=10000", "presence=all"),
    "early-features": ("epochs=1000", "stop_change=0", "learning_rate=0", "batch=8"),
}


def stage(name: str, step: int = 0) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event.get("stage") == name and event["step"] >= step


@pytest.mark.parametrize(
    ("number", "method", "moment"),
    [
        (signal.SIGTERM, "adami", stage("adapting", 2)),
        (signal.SIGINT, "heal", stage("sampling", 2)),
    ],
    ids=["SIGTERM while adapting", "SIGINT while sampling"],
)
def test_a_cancelled_run_leaves_nothing(
    phantom: Callable[..., Phantom],
    tmp_path: Path,
    start: Callable[[list[str]], Process],
    number: int,
    method: str,
    moment: Callable[[dict[str, Any]], bool],
) -> None:
    bundle, image = phantom().bundle, phantom().image
    process = start(run_words(bundle, image, method, tmp_path / "out", *ENDLESS[method]))
    process.until(moment)
    assert len(list(tmp_path.iterdir())) == 1  # the partial result
    process.send(number)
    process.send(number)  # who is impatient must not get less
    status, errors = process.end()
    assert status == 130
    assert process.told[-1]["event"] == "error" and process.told[-1]["status"] == 130
    assert errors == "SFDALib: cancelled; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


def test_a_run_ends_when_nobody_listens_any_more(
    phantom: Callable[..., Phantom], tmp_path: Path, start: Callable[[list[str]], Process]
) -> None:
    bundle, image = phantom().bundle, phantom().image
    process = start(run_words(bundle, image, "adami", tmp_path / "out", *ENDLESS["adami"]))
    process.until(stage("adapting", 1))
    process.stop_listening()
    status, errors = process.end()
    assert status == 130
    assert errors == "SFDALib: cancelled, as nobody reads the output any more\n"
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_leaves_no_result_and_the_next_one_sweeps_and_works(
    phantom: Callable[..., Phantom], tmp_path: Path, start: Callable[[list[str]], Process]
) -> None:
    bundle, image, out = phantom().bundle, phantom().image, tmp_path / "out"
    moments = [
        ("early-features", lambda event: event["event"] == "started"),
        ("heal", stage("sampling", 1)),
    ]
    for method, moment in moments:
        process = start(run_words(bundle, image, method, out, *ENDLESS[method]))
        process.until(moment)
        process.send(signal.SIGKILL)
        assert process.end()[0] == -signal.SIGKILL
        (left,) = tmp_path.iterdir()  # one: each run swept what the one before it left
        assert left.name.startswith(".out.partial-")
    process = start(run_words(bundle, image, "none", out))
    process.until(stage("source model", 1))
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.partial-*/entropy.nrrd")):
        assert time.monotonic() < deadline
    process.send(signal.SIGKILL)
    assert process.end()[0] == -signal.SIGKILL
    assert not out.exists()
    assert main(run_words(bundle, image, "none", out)) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_run_speaks_json_on_standard_output_and_words_on_standard_error(
    phantom: Callable[..., Phantom], tmp_path: Path, start: Callable[[list[str]], Process]
) -> None:
    request = run_words(phantom().bundle, phantom().image, "heal", tmp_path / "out", "steps=2")
    process = start(request)
    status, errors = process.end()
    assert status == 0
    assert process.told[0]["event"] == "started" and process.told[-1]["event"] == "result"
    assert errors.splitlines()[-1] == f"The result is in {tmp_path / 'out'}"
    assert "Traceback" not in errors and "Warning" not in errors


def test_a_wrong_word_ends_the_process_with_status_2_and_one_line(tmp_path: Path) -> None:
    request = run_words(tmp_path / "b", tmp_path / "v", "none", tmp_path / "out", "mirror=maybe")
    command = [sys.executable, "-m", "SFDALib", *request]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "option mirror" in line


def test_what_a_panel_needs_imports_the_standard_library_alone(tiny_bundle: Path) -> None:
    code = (
        "import sys; from SFDALib import __main__; from SFDALib.methods import registry;"
        "from SFDALib.jobs import events, inspect, request;"
        "from pathlib import Path; inspect.inspect(Path(sys.argv[1]));"
        "print([m for m in ('torch', 'monai', 'numpy', 'SimpleITK', 'rich') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tiny_bundle)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == "[]", done.stderr


def test_a_cancellation_is_no_failure_that_anything_may_go_on_after(
    request_words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def cancelled(*arguments: Any) -> None:
        raise Cancelled("cancelled; nothing was written")

    monkeypatch.setattr(adami, "AdaMI", cancelled)
    request = changed(request_words, "--method", "adami")[1:]
    assert main(["cohort", *request]) == 130
    assert list(tmp_path.iterdir()) == []
    assert not issubclass(Cancelled, Exception)
