"""The command line: what it refuses and how, its exit status, its events, and how it dies."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bundles import describe, write_bundle
from paths import ROOT
from phantoms import Phantom

from SFDALib.__main__ import main
from SFDALib.adaptation import adami, none
from SFDALib.errors import Cancelled
from SFDALib.jobs import events, write_result
from SFDALib.jobs.inspect import inspect
from SFDALib.jobs.request import Job
from SFDALib.machine import devices, out_of_memory
from SFDALib.methods import registry
from SFDALib.methods.option import option as declared
from SFDALib.methods.outcome import Segmented
from SFDALib.methods.shared_options import InferenceOptions

CPU_ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you"
    " tried to allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.fixture
def request_words(tiny_bundle: Path, head_file: Path, tmp_path: Path) -> list[str]:
    """A run that works, in a folder of its own. The bundle's weights are random."""
    return run_words(tiny_bundle, head_file, "none", tmp_path / "out")


def run_words(bundle: Path, image: Path, method: str, output: Path, *options: str) -> list[str]:
    request = ["run", "--bundle", bundle, "--input", image, "--method", method, "--output", output]
    request += ["--device", "cpu", *(word for option in options for word in ("--option", option))]
    return [str(word) for word in request]


def changed(request: list[str], name: str, *values: object) -> list[str]:
    """The request with other values of one word."""
    at = request.index(name)
    return [*request[: at + 1], *map(str, values), *request[at + 2 :]]


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.fixture
def refusal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., str]:
    """``refusal(request, status=2)`` runs it and returns the one line that says why not.

    It checks that nothing in the folder changed.
    """

    def refuse(request: list[str], status: int = 2) -> str:
        before = contents(tmp_path)
        caplog.clear()
        assert main(request) == status
        assert contents(tmp_path) == before
        (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert record.exc_info is None
        message = record.getMessage()
        assert message.startswith("SFDALib: ") and "\n" not in message
        return message

    return refuse


# --- Refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("--method", "magic", 'found "magic", expected one of auto, none, heal'),
        ("--input", "missing.nrrd", "missing.nrrd: no such file"),
        ("--input", "x" * 300 + ".nrrd", "no such file"),
        ("--bundle", "missing", "missing: no such bundle"),
        ("--output", "missing/out", "does not exist. Make it first"),
        ("--device", "gpu", "expected auto, cpu, cuda"),
        ("--device", "cuda:", "expected auto, cpu, cuda"),
        ("--device", "cuda:x", "expected auto, cpu, cuda"),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(
    request_words: list[str], refusal: Callable, name: str, value: str, expected: str
) -> None:
    assert expected in refusal(changed(request_words, name, value))


@pytest.mark.parametrize(
    ("method", "option", "expected"),
    [
        ("heal", "tau3=1", 'found the option "tau3", expected one of tau1'),
        ("heal", "samples=0", 'option samples: found "0", expected a whole number from 1 to 64'),
        ("heal", "samples=2.5", "expected a whole number"),
        ("heal", "samples=1e999", "expected a whole number"),
        ("heal", "sampler=euler", "expected ddpm or dpm-solver++ or ddim"),
        ("heal", "shared_noise=maybe", "expected true or false"),
        ("heal", "tau1", "expected name=value"),
        ("adami", "learning_rate=-1", "expected a number from 0 to 1"),
        ("adami", "prior=heavy", 'option prior: found "heavy"'),
        ("adami", "class_weights=1,2,3", "option class_weights"),
        ("none", "epochs=3", "expected one of overlap, mirror"),
    ],
)
def test_a_wrong_option_is_refused_with_what_it_accepts(
    request_words: list[str], refusal: Callable, method: str, option: str, expected: str
) -> None:
    request = [*changed(request_words, "--method", method), "--option", option]
    assert expected in refusal(request)


def test_a_run_needs_its_three_words(request_words: list[str], refusal: Callable) -> None:
    for name in ("--bundle", "--input", "--output"):
        at = request_words.index(name)
        assert f"found no {name}" in refusal(request_words[:at] + request_words[at + 2 :])


def test_unknown_words_are_refused(refusal: Callable) -> None:
    assert "invalid choice" in refusal(["dance"])
    assert "unrecognized arguments" in refusal(["methods", "--dance"])
    assert "SFDALib run --help" in refusal(["run", "--seed", "many"])


def test_an_existing_result_is_left_as_it_is(
    request_words: list[str], refusal: Callable, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/edited.seg.nrrd").write_text("hours of work")
    assert "exists already and is left as it is" in refusal(request_words)


def test_a_graphics_card_that_is_not_there_is_no_silent_cpu(
    request_words: list[str], refusal: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    line = refusal(changed(request_words, "--device", "cuda"))
    assert "found 0 CUDA device(s)" in line and "--device cpu" in line


def test_the_first_graphics_card_is_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = [str(devices.resolve(name)) for name in ("cuda", "cuda:0", "cuda:1")]
    assert found == ["cuda:0", "cuda:0", "cuda:1"]


def test_memory_that_torch_keeps_for_later_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("mem_get_info", (500 << 20, 8 << 30)),
        ("memory_reserved", 300 << 20),
        ("memory_allocated", 100 << 20),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert devices.free_mb(torch.device("cuda:0")) == 700


def test_auto_says_that_it_computes_on_the_cpu(
    request_words: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert main(changed(request_words, "--device", "auto")) == 0
    assert any("computing on the CPU" in message for message in caplog.messages)


def test_a_folder_without_permission_is_refused(
    request_words: list[str], refusal: Callable, tmp_path: Path
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("this user may write everywhere: permissions cannot be tested as root")
    request = changed(request_words, "--output", tmp_path / "locked/out")
    assert "not permitted" in refusal(request)


@pytest.mark.parametrize("writer", ["write_segmentation", "write_map", "draw_overview"])
def test_a_full_disk_is_told_and_leaves_nothing(
    request_words: list[str], refusal: Callable, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    def full(path: Path, *arguments: Any) -> None:
        Path(path).write_bytes(b"half a ")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(write_result, writer, full)
    assert "the disk is full; free some space" in refusal(request_words)


def test_a_bundle_that_cannot_serve_the_method_names_those_that_can(
    head_file: Path, tmp_path: Path, refusal: Callable
) -> None:
    bundle = write_bundle(tmp_path / "plain", describe())
    for name in ("early_head", "diffusion"):
        path = bundle / "configs/metadata.json"
        metadata = json.loads(path.read_text())
        metadata["sfda"][name] = None
        path.write_text(json.dumps(metadata))
    line = refusal(run_words(bundle, head_file, "heal", tmp_path / "out"))
    assert "needs a diffusion model" in line and "you can use none, adami, adaent" in line
    line = refusal(run_words(bundle, head_file, "early-features", tmp_path / "out"))
    assert "needs a head on early features" in line


def test_heal_cannot_adapt_once_to_a_cohort(request_words: list[str], refusal: Callable) -> None:
    request = changed(request_words, "--method", "heal")[1:]
    assert "use --adapt each" in refusal(["cohort", *request, "--adapt", "once"])


# --- Job files ---------------------------------------------------------------------------------


@pytest.fixture
def job(request_words: list[str]) -> dict[str, Any]:
    words = iter(request_words[1:])
    return {name.removeprefix("--"): value for name, value in zip(words, words, strict=True)}


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("sed", 1, 'found the field "sed", expected only bundle'),
        ("seed", "1", "found '1', expected a whole number"),
        ("seed", True, "expected a whole number"),
        ("seed", -1, "seed: found -1"),
        ("seed", 2**40, "expected 0 to 2147483647"),
        ("input", [], "expected at least one"),
        ("input", [1], "expected file names"),
        ("bundle", None, "expected text"),
        ("options", ["mirror"], "expected an object"),
        ("options", {"mirror": 1}, "option mirror"),
        ("options", {"overlap": "wide"}, "option overlap"),
        ("options", {"overlap": 10**400}, "option overlap"),
        ("options", {"overlap": [0.5]}, "option overlap"),
        ("device", "", "expected auto, cpu, cuda"),
    ],
)
def test_a_wrong_field_of_a_job_file_is_refused(
    job: dict[str, Any], tmp_path: Path, refusal: Callable, field: str, value: Any, expected: str
) -> None:
    (tmp_path / "job.json").write_text(json.dumps({**job, field: value}))
    assert expected in refusal(["run", "--job", str(tmp_path / "job.json")])


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"method": "none"}', "[" * 100000, "\x00"])
def test_a_file_that_is_no_job_is_refused(tmp_path: Path, refusal: Callable, text: str) -> None:
    (tmp_path / "job.json").write_text(text)
    assert "job.json" in refusal(["run", "--job", str(tmp_path / "job.json")])
    assert "missing.json" in refusal(["run", "--job", str(tmp_path / "missing.json")])


@pytest.mark.parametrize("words", [["--seed", "0"], ["--method", "none"], ["--option", "mirror=1"]])
def test_words_beside_a_job_file_are_not_overlooked(
    job: dict[str, Any], tmp_path: Path, refusal: Callable, words: list[str]
) -> None:
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert "beside --job" in refusal(["run", "--job", str(tmp_path / "job.json"), *words])


def test_a_job_survives_the_way_through_its_file(tmp_path: Path) -> None:
    files = {"bundle": "b", "input": ("a.nrrd", "c.nrrd"), "output": "out"}
    options = {"samples": 3}
    job = Job(**files, method="heal", options=options, device="cuda:1", seed=7).checked()
    (tmp_path / "job.json").write_text(json.dumps(job.to_dict()))
    assert Job.from_file(tmp_path / "job.json").checked() == job
    assert job.options["samples"] == 3 and job.options["sampler"] == "ddpm"


# --- Out of memory, and defects of ours --------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 64. GiB for an array"),
        RuntimeError(CPU_ALLOCATOR),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize(
    ("method", "remedy"),
    [
        ("adami", "not even --option batch=1 fits"),
        ("heal", f"lower --option samples, now {registry.find('heal').values({}).samples}"),
    ],
)
def test_running_out_of_memory_names_the_option_that_lowers_the_need(
    request_words: list[str],
    refusal: Callable,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    method: str,
    remedy: str,
) -> None:
    def greedy(*arguments: Any) -> None:
        raise error

    found = registry.find(method)
    monkeypatch.setattr(found.entry.replace(":", "."), greedy)
    line = refusal(changed(request_words, "--method", method), status=3)
    assert "out of memory" in line and remedy in line and "--device" in line
    if "64" in str(error) or "6871" in str(error):
        assert "64" in line or "68719476736 bytes" in line


def test_other_runtime_errors_are_not_taken_for_a_lack_of_memory() -> None:
    assert out_of_memory.as_out_of_memory(RuntimeError("mat1 and mat2 shapes differ")) is None
    assert out_of_memory.as_out_of_memory(ValueError("out of memory")) is None


def test_a_defect_of_ours_is_not_disguised(
    request_words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    def broken(*arguments: Any) -> None:
        raise ValueError("a mistake in the code")

    monkeypatch.setattr(none, "segment", broken)
    with pytest.raises(ValueError, match="a mistake in the code"):
        main([*request_words, "--progress", "json"])
    assert list(tmp_path.iterdir()) == []
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["status"]) == ("error", 1)
    assert "a mistake in the code" in last["message"]


def test_a_defect_ends_the_process_with_a_traceback_and_status_1(tmp_path: Path) -> None:
    code = (
        "import sys; from SFDALib import __main__ as m; from SFDALib.commands import describe;"
        "describe._methods = lambda *a: 1 / 0; sys.exit(m.main(['methods']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr


# --- Methods -----------------------------------------------------------------------------------


def test_methods_as_data_is_the_registry(capsys: pytest.CaptureFixture) -> None:
    assert main(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed == [method.to_dict() for method in registry.METHODS.values()]


def test_methods_in_words_tells_every_option_with_its_recommended_and_published_value(
    capsys: pytest.CaptureFixture,
) -> None:
    assert main(["methods"]) == 0
    text = capsys.readouterr().out
    for method in registry.METHODS.values():
        section = text[text.index(f"{method.name}: {method.title}") :].split("\n\n")[0]
        assert method.paper in section
        for option in method.options:
            line = next(w for w in section.splitlines() if w.strip().startswith(f"{option.name}="))
            shown = line.strip().split(" (")[0].partition("=")[2]
            recommended, differ, published = shown.partition(", published ")
            assert option.check(recommended) == option.recommended  # what is shown can be typed
            assert option.check(published or recommended) == option.published
            assert bool(differ) == (option.name in method.recommended)
            assert option.help in line


def test_a_reader_may_leave_early() -> None:
    """As ``head`` does: no traceback."""
    command = f"{sys.executable} -m SFDALib methods | true"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def upside_down(
    model: Any, target: Any, probabilities: Any, options: dict, seed: int, progress: Any
) -> Segmented:
    progress("turning", 1, 1)
    return Segmented(probabilities.flip(2), report={"turns": options.turns})


@dataclass(frozen=True, kw_only=True)
class TurningOptions(InferenceOptions):
    turns: int = declared(1, "Half turns.", 1, 3)


def test_a_method_is_added_by_one_line_in_the_registry(
    request_words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    new = replace(
        registry.find("none"),
        name="turned",
        options_type=TurningOptions,
        entry=f"{__name__}:upside_down",
    )
    monkeypatch.setitem(registry.METHODS, "turned", new)
    assert main([*changed(request_words, "--method", "turned"), "--option", "turns=3"]) == 0
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert (report["method"], report["details"]) == ("turned", {"turns": 3})
    assert main(["methods"]) == 0
    assert "turns=1 (a whole number from 1 to 3)  Half turns." in capsys.readouterr().out
    assert main(["methods", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[-1]["name"] == "turned"
    bundle = request_words[request_words.index("--bundle") + 1]
    assert main(["inspect", "--json", bundle]) == 0
    assert json.loads(capsys.readouterr().out)["methods"][-1] == "turned"


# --- Inspect -----------------------------------------------------------------------------------


def test_inspect_tells_in_words_what_a_bundle_is(
    tiny_bundle: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["inspect", str(tiny_bundle)]) == 0
    text = capsys.readouterr().out
    for words in ("Tiny test model", "synthetic head", "Brain (10 to 200 ml)", "2D, 1 channel"):
        assert words in text
    assert "in codes        Brain: Brain" in text
    able = [name for name in registry.METHODS if name not in ("muvi", "few-labels")]
    assert ", ".join(able) in text
    assert main(["inspect", "--json", str(tiny_bundle)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["methods"] == able and set(facts["unavailable"]) == {"muvi", "few-labels"}
    assert "few-labels" in inspect(tiny_bundle, brought=["labels"])["methods"]
    assert facts["spacing_mm"] == [3.0, 3.0, None]


def test_inspect_says_why_a_bundle_is_not_usable(tmp_path: Path, refusal: Callable) -> None:
    bundle = write_bundle(tmp_path / "bundle", describe())
    (bundle / "models/diffusion.pt").rename(tmp_path / "elsewhere.pt")
    assert "found no models/diffusion.pt" in refusal(["inspect", str(bundle)])
    (bundle / "configs/metadata.json").write_text("{")
    assert "metadata.json is no valid JSON" in refusal(["inspect", str(bundle)])
    (bundle / "configs/metadata.json").unlink()
    assert "found no configs/metadata.json" in refusal(["inspect", str(bundle)])
    assert "no such bundle" in refusal(["inspect", str(tmp_path / "missing")])
    (tmp_path / "bundle.zip").write_text("no archive")
    assert "no .zip or is damaged" in refusal(["inspect", str(tmp_path / "bundle.zip")])


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
