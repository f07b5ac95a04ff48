"""The command line: what it refuses and how, its exit status, and what it tells."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bundles import describe, write_bundle
from command_words import changed, run_words
from paths import ROOT

from SFDALib.__main__ import main
from SFDALib.adaptation import none
from SFDALib.jobs import write_result
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
    assert "needs a diffusion model" in line and "you can use auto, none, adami, adaent" in line
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
        "import sys; from SFDALib import __main__ as m; from SFDALib.methods.method import Method;"
        "Method.to_dict = lambda method: 1 / 0; sys.exit(m.main(['methods', '--json']))"
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
            assert option.help in line and f" ({option.expected()})  " in line


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
