"""Comparisons: several methods on one image by one command."""

from __future__ import annotations

import gc
import io
import json
import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from bundles import describe
from phantoms import Phantom
from rich.console import Console

from SFDALib.__main__ import main
from SFDALib.adaptation import adaent, adami
from SFDALib.bundle import loading, source
from SFDALib.commands.compare import table
from SFDALib.errors import Cancelled, OutOfMemoryError, RequestError
from SFDALib.jobs import image_run
from SFDALib.jobs.request import Comparison
from SFDALib.machine import devices
from SFDALib.methods import registry
from SFDALib.networks.build import build_network
from SFDALib.volume import labelling
from SFDALib.volume.image_file import ImageFile

Phantoms = Callable[..., Phantom]
METHODS = ("heal", "adami", "early-features")
ALL = ",".join(METHODS)
BRIEF = {"epochs": 2, "batch": 8, "learning_rate": 1e-4}
QUICK = {
    "heal": {"samples": 2, "steps": 2},
    **dict.fromkeys(("adami", "adaent", "early-features"), BRIEF),
}
RESULT = "segmentation.seg.nrrd"


# --- The command -------------------------------------------------------------------------------


def words(
    phantom: Phantom, output: Path, *more: str, methods: str = ",".join(METHODS)
) -> list[str]:
    request = ["compare", "--bundle", phantom.bundle, "--input", phantom.image, "--output", output]
    request += ["--device", "cpu", "--methods", methods]
    for method in methods.split(","):
        for name, value in QUICK.get(method, {}).items():
            request += ["--option", f"{method}.{name}={value}"]
    return [*map(str, request), *more]


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "comparison.json").read_text())


def array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def files_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def compared(phantom: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One comparison of three methods on the oblique head, read only."""
    out = tmp_path_factory.mktemp("compare") / "out"
    assert main(words(phantom(), out)) == 0
    return out


def test_a_comparison_holds_what_it_compares_and_what_comes_of_it(compared: Path) -> None:
    assert {entry.name for entry in compared.iterdir()} == {
        *("none", *METHODS),
        *("comparison.json", "comparison.png", "vote_entropy.nrrd"),
        *("consensus_staple.seg.nrrd", "consensus_majority.seg.nrrd"),
    }
    summary = summary_of(compared)
    assert [row["method"] for row in summary["methods"]] == ["none", *METHODS]
    assert (summary["done"], summary["failed"]) == (4, 0)
    assert set(summary["shared_seconds"]) == {"reading", "source segmentation"}
    for entry in summary["methods"]:
        report = json.loads((compared / entry["folder"] / "report.json").read_text())
        for name in ("preset", "options", "notes", "seconds", "peak_memory_mb"):
            assert entry[name] == report[name], name
        assert entry["seconds_total"] == pytest.approx(sum(report["seconds"].values()))
        assert entry["title"] == registry.find(entry["method"]).title
        (volume,) = entry["volumes"]
        before, after = report["volumes"][0]["source_ml"], report["volumes"][0]["result_ml"]
        assert volume["change_percent"] == pytest.approx(100 * (after / before - 1), abs=0.06)


@pytest.mark.parametrize("method", ["heal", "adami"])
def test_each_result_is_what_a_run_of_the_method_alone_gives(
    compared: Path, phantom: Phantoms, tmp_path: Path, method: str
) -> None:
    options = [f"{name}={value}" for name, value in QUICK[method].items()]
    request = ["run", "--bundle", phantom().bundle, "--input", phantom().image, "--device", "cpu"]
    request += ["--method", method, "--output", tmp_path / "out", "--gate", "off"]
    request += [word for option in options for word in ("--option", option)]
    assert main([str(word) for word in request]) == 0
    assert files_in(tmp_path / "out") == files_in(compared / method)
    for name in files_in(compared / method) - {"report.json"}:
        assert (tmp_path / "out" / name).read_bytes() == (compared / method / name).read_bytes()
    reports = [
        json.loads((folder / "report.json").read_text())
        for folder in (tmp_path / "out", compared / method)
    ]
    assert reports[0]["seconds"].keys() == reports[1]["seconds"].keys()
    for report in reports:
        del report["seconds"], report["peak_memory_mb"]
    assert reports[0] == reports[1]


def test_the_figures_are_those_of_the_segmentations_written(
    compared: Path, phantom: Phantoms
) -> None:
    maps = {name: array(compared / name / RESULT) for name in ("none", *METHODS)}
    assert len({map_.tobytes() for map_ in maps.values()}) > 2  # else agreement shows nothing
    dice = summary_of(compared)["dice"]
    assert dice["methods"] == list(maps)
    (brain,) = dice["classes"]
    assert (brain["label"], brain["name"]) == (1, "Brain") and brain["matrix"] == dice["mean"]
    for a, one in enumerate(maps.values()):
        for b, other in enumerate(maps.values()):
            expected = 2 * (one & other).sum() / (one.sum() + other.sum())
            assert brain["matrix"][a][b] == pytest.approx(expected)

    votes = sum(maps[name].astype(int) for name in METHODS)  # the source model has none
    summary = summary_of(compared)
    assert summary["voters"] == list(METHODS)
    one_of_three = math.log2(3) - 2 / 3
    entropy = array(compared / "vote_entropy.nrrd")
    np.testing.assert_allclose(entropy, np.where(votes % 3 == 0, 0, one_of_three), atol=1e-6)
    assert summary["mean_vote_entropy_bits"] == pytest.approx(entropy.mean(dtype=float))
    assert (array(compared / "consensus_majority.seg.nrrd") == (votes >= 2)).all()
    for name in ("majority", "staple"):
        labels = array(compared / f"consensus_{name}.seg.nrrd")
        (volume,) = summary["consensus"][name]["volumes"]
        assert volume["ml"] == pytest.approx(labels.sum() * 2.5 * 2.2 * 6.0 / 1000, abs=1e-3)
        assert labels.sum() > 0 and summary["consensus"][name]["undecided_voxels"] == 0
    wanted = sitk.ReadImage(str(phantom().image))
    for path in compared.glob("*.nrrd"):
        image = sitk.ReadImage(str(path))
        assert image.GetSize() == wanted.GetSize()
        assert image.GetDirection() == pytest.approx(wanted.GetDirection(), abs=1e-6)
        assert image.GetOrigin() == pytest.approx(wanted.GetOrigin(), abs=1e-6)


def test_the_judge_sees_how_far_the_others_agree_and_chooses_the_least_harm(
    compared: Path,
) -> None:
    summary = summary_of(compared)
    names = summary["dice"]["methods"]
    trusts = {row["method"]: row["trust"] for row in summary["methods"]}
    assert trusts.pop("none") is None
    for name, trust in trusts.items():
        dice = dict(zip(names, summary["dice"]["mean"][names.index(name)], strict=True))
        others = [dice[other] for other in METHODS if other != name]
        assert trust["signals"]["others"] == pytest.approx(sum(others) / 2)
        report = json.loads((compared / name / "report.json").read_text())
        assert report["trust"]["signals"]["others"] is None  # a run knows of no other
        assert trust["delivered"] == "result"  # which is what lies in its folder
    adopted = {
        name: (trust["decision"] != "better", trust["harm"])
        for name, trust in trusts.items()
        if trust["adopted"]
    }
    assert summary["chosen"] == min(adopted, key=adopted.get, default="none")


def test_methods_share_one_bundle_one_image_and_one_source_segmentation(
    phantom: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: Any, **more: Any) -> Any:
            calls.append(more.get("stage", name))
            return real(*arguments, **more)

        monkeypatch.setattr(module, name, call)

    made = phantom()  # trained before the counting begins
    for module, name in (
        (loading, "load_bundle"),
        (ImageFile, "read"),
        (image_run, "predict"),
        (labelling, "labels"),
    ):
        counted(module, name)
    assert main(words(made, tmp_path / "out", methods="adami,adaent")) == 0
    once = ["load_bundle", "read", "source model"]
    assert [name for name in calls if name in once] == once
    assert calls.count("adapted model") == 2
    assert calls.count("labels") == 3  # on the input's grid: the source's once, and each method's


def test_every_method_is_told_its_own_peak_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not let a process forget its peak")
    block = np.ones(100 << 20, np.uint8)
    before = devices.peak_memory_mb(torch.device("cpu"))["process"]
    del block
    devices.reset_peak_memory(torch.device("cpu"))
    assert devices.peak_memory_mb(torch.device("cpu"))["process"] < before - 50


# --- Failures ----------------------------------------------------------------------------------


def fail(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let AdaMI fail."""

    def adapt(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(adami, "AdaMI", adapt)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RequestError("the loss is no number; lower learning_rate"), "the loss is no number"),
        (OutOfMemoryError("out of memory"), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "not even --option batch=1"),
    ],
)
def test_a_method_that_fails_is_reported_and_does_not_stop_the_others(
    phantom: Phantoms,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    told: str,
) -> None:
    fail(monkeypatch, error)
    out = tmp_path / "out"
    assert main(words(phantom(), out, methods="adami,adaent")) == 2
    summary = summary_of(out)
    assert (summary["done"], summary["failed"]) == (2, 1)
    none, failed, adaent = summary["methods"]
    assert told in failed["error"] and failed["folder"] is None and "volumes" not in failed
    assert none["error"] is None and adaent["error"] is None
    assert summary["dice"]["methods"] == ["none", "adaent"] and summary["voters"] == ["adaent"]
    assert not (out / "adami").exists() and (out / "adaent" / RESULT).is_file()
    assert f"adami: {failed['error']}" in caplog.messages
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("error", "status"),
    [(Cancelled("cancelled"), 130), (RequestError("it diverges"), 2), (ValueError("ours"), None)],
)
def test_a_comparison_that_comes_to_nothing_leaves_nothing(
    phantom: Phantoms,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    status: int | None,
) -> None:
    fail(monkeypatch, error)
    request = words(phantom(), tmp_path / "out", methods="adami")
    if status is None:
        with pytest.raises(ValueError, match="ours"):
            main(request)
    else:
        assert main(request) == status
        assert str(error) in caplog.messages[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_ran_out_of_memory_gives_it_back_before_the_next_one(
    phantom: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref] = []

    def hog(*arguments: Any) -> None:
        tensor = torch.ones(1)
        held.append(weakref.ref(tensor))
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    def look(*arguments: Any) -> None:
        assert len(held) == 3, "of eight patches, two and one"
        assert all(tensor() is None for tensor in held)
        raise RequestError("it was looked at")

    monkeypatch.setattr(adami, "AdaMI", hog)
    monkeypatch.setattr(adaent, "AdaEnt", look)
    gc.disable()
    try:
        assert main(words(phantom(), tmp_path / "out", methods="adami,adaent")) == 2
    finally:
        gc.enable()


# --- Refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("methods", "more", "expected"),
    [
        ("heal,magic", [], 'found "magic", expected one of auto, none, heal'),
        ("auto,heal", [], "found auto, which chooses among the others"),
        ("none", [], "found no other than none, expected at least one of heal"),
        ("", [], 'found "", expected one of auto'),
        ("heal", ["--option", "steps=2"], "expected method.name=value"),
        ("heal", ["--option", "heal.steps"], "expected name=value"),
        ("heal", ["--option", "heal.tau3=1"], 'found the option "tau3"'),
        ("heal", ["--option", "adami.epochs=2"], "expected options of heal; add it to --methods"),
        ("heal", ["--option", "magic.epochs=2"], 'found "magic"'),
        ("heal", ["--option", "heal.mirror=true"], "give none.mirror for all"),
        ("heal", ["--seed", "-1"], "expected 0 to 2147483647"),
        ("heal", ["--device", "gpu"], "expected auto, cpu, cuda"),
        ("heal", ["--bundle", "missing"], "missing: no such bundle"),
        ("heal", ["--input", "missing.nrrd"], "missing.nrrd: no such file"),
        ("heal", ["--output", "missing/out"], "does not exist. Make it first"),
        ("heal", ["--job", "job.json"], "beside --job"),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(
    tiny_bundle: Path,
    head_file: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    methods: str,
    more: list[str],
    expected: str,
) -> None:
    phantom = Phantom(head_file, head_file, tiny_bundle)
    assert main(words(phantom, tmp_path / "out", *more, methods=methods)) == 2
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert expected in record.getMessage() and "\n" not in record.getMessage()
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_needs_a_bundle_an_image_and_a_place(caplog: pytest.LogCaptureFixture) -> None:
    assert main(["compare", "--bundle", "b"]) == 2
    assert "found no --input, expected --bundle, --input and --output" in caplog.messages[-1]


@pytest.fixture
def plain_bundle(tmp_path: Path) -> Path:
    """A bundle without early head and diffusion model."""
    description = replace(describe(), early_head=None, diffusion=None)
    torch.manual_seed(0)
    weights = build_network(description.network).state_dict()
    source.write(tmp_path / "plain", description, weights)
    return tmp_path / "plain"


def test_a_method_that_the_bundle_cannot_serve_is_refused_before_anything_runs(
    plain_bundle: Path, head_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    phantom = Phantom(head_file, head_file, plain_bundle)
    assert main(words(phantom, tmp_path / "out", methods="adami,heal")) == 2
    assert "method heal needs a diffusion model" in caplog.messages[-1]
    assert not (tmp_path / "out").exists()


def test_without_words_on_methods_all_run_that_the_bundle_can_serve(
    plain_bundle: Path, head_file: Path, tmp_path: Path
) -> None:
    request = ["compare", "--bundle", plain_bundle, "--input", head_file, "--device", "cpu"]
    request += ["--output", tmp_path / "out"]
    request += ["--option", "adami.epochs=1", "--option", "adaent.epochs=1"]
    # Random weights give methods of their own nothing to do: their results are not the point.
    assert main([str(word) for word in request]) in (0, 2)
    served = registry.lacking({"batch-norm"})
    expected = registry.comparable(name for name, lack in served.items() if lack is None)
    assert [row["method"] for row in summary_of(tmp_path / "out")["methods"]] == expected
    assert "adami" in expected and "heal" not in expected


# --- Requests ----------------------------------------------------------------------------------


def test_the_options_of_inference_are_those_of_the_reference_for_all() -> None:
    given = {"adami": {"epochs": "3"}, "none": {"overlap": "0.25"}}
    checked = Comparison(bundle="b", input=("i",), methods=given, output="o").checked()
    assert list(checked.methods) == ["none", "adami"]
    assert checked.methods["adami"]["overlap"] == 0.25
    assert checked.methods["adami"]["epochs"] == 3
    assert checked.checked() == checked


def test_a_comparison_survives_the_way_through_its_file(tmp_path: Path) -> None:
    methods = {"heal": {"samples": 2}, "adami": {}}
    files = {"bundle": "b", "input": ("i", "j"), "output": "o"}
    request = Comparison(**files, methods=methods, device="cpu", seed=7)
    path = tmp_path / "job.json"
    path.write_text(json.dumps(request.to_dict()))
    assert Comparison.from_file(path) == request
    path.write_text(json.dumps(request.checked().to_dict()))
    assert Comparison.from_file(path).checked() == request.checked()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"methods": None}, "expected an object"),
        ({"methods": ["heal"]}, "expected an object"),
        ({"methods": {"heal": 3}}, "expected an object with the method's options"),
        ({"method": "heal"}, 'found the field "method", expected only bundle'),
        ({"input": [1]}, "expected file names"),
    ],
)
def test_a_wrong_field_of_a_comparison_file_is_refused(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    values = Comparison(bundle="b", input=("i",), methods={"heal": {}}, output="o").to_dict()
    values |= change
    (tmp_path / "job.json").write_text(json.dumps(values))
    with pytest.raises(RequestError, match=expected):
        Comparison.from_file(tmp_path / "job.json")


# --- What people see ---------------------------------------------------------------------------


def test_the_table_has_a_line_for_each_structure_and_names_a_method_once() -> None:
    volumes = [
        {"name": "Brain", "result_ml": 1234.4, "change_percent": -10.2},
        {"name": "Lesion", "result_ml": 3.25, "change_percent": None},
    ]
    worked = {"error": None, "seconds_total": 61.6, "volumes": volumes, "trust": None}
    rows = [
        {**worked, "method": "none", "peak_memory_mb": {"process": 812.3}},
        {"method": "heal", "error": "out of memory"},
        {**worked, "method": "adami", "peak_memory_mb": {"process": 812.3, "gpu": 99.6}},
    ]
    matrices = ([[1, 0.8765], [0.8765, 1]], [[math.nan, 0], [0, 1]])
    dice = {"methods": ["none", "adami"], "classes": [{"matrix": matrix} for matrix in matrices]}
    console = Console(width=100, file=io.StringIO())
    console.print(table({"methods": rows, "dice": dice, "chosen": "adami"}))
    assert "The judge chooses adami." in console.file.getvalue()
    lines = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in console.file.getvalue().splitlines()
        if line.startswith("│")
    ]
    assert lines == [
        ["none", "Brain", "1234", "-10 %", "1.000", "–", "62", "812"],
        ["", "Lesion", "3.25", "–", "nan", "", "", ""],
        ["adami", "Brain", "1234", "-10 %", "0.876", "–", "62", "100"],
        ["", "Lesion", "3.25", "–", "0.000", "", "", ""],
    ]


def test_progress_as_json_has_standard_output_for_itself(
    phantom: Phantoms, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    request = words(phantom(), tmp_path / "out", "--progress", "json", methods="adami")
    assert main(request) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["event"] == "started" and events[-1]["event"] == "result"
    assert set(events[0]["comparison"]["methods"]) == {"none", "adami"}
    turns = [event.get("method") for event in events if event.get("stage") == "compare"]
    assert turns[0] == "none" and turns[-1] is None
