"""The automatic choice: several methods tried within a time, the best result delivered.

Most tests replace what a method computes, the judge and the clock; two run real methods.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from phantoms import Phantom
from quick_jobs import QUICK, files_in, report_of

from SFDALib.__main__ import main
from SFDALib.errors import Cancelled, OutOfMemoryError, RequestError
from SFDALib.jobs import auto, time_limit, tried
from SFDALib.jobs.auto import deliver_best
from SFDALib.jobs.engine import open_engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.image_run import ImageRun
from SFDALib.jobs.judgement import choice
from SFDALib.jobs.request import Cohort, Comparison, Job
from SFDALib.jobs.run import deliver
from SFDALib.methods import needs, registry
from SFDALib.methods.auto import ORDER
from SFDALib.methods.method import Method
from SFDALib.results.images import write_segmentation
from SFDALib.volume.reading import Reading

Phantoms = Callable[..., Phantom]
BETTER, KEEP, LOOK = "better", "keep", "look"
FILES = {"bundle": "b", "input": ("i",), "output": "o"}


# --- Stand-ins ---------------------------------------------------------------------------------


@dataclass
class Scripted:
    """What each method takes and gives, in place of computing it.

    Args:
        seconds: of each method, also what is expected of it unless ``expected`` says otherwise.
        harm: as the judge sees it; a method that is not named is no better than the source's.
        look: the methods at which people are to look.
        shift: voxels by which its result misses that of the first method, as a block of 10.
        errors: of the methods that fail.
    """

    seconds: dict[str, float]
    harm: dict[str, float] = field(default_factory=dict)
    shift: dict[str, int] = field(default_factory=dict)
    look: tuple[str, ...] = ()
    errors: dict[str, BaseException] = field(default_factory=dict)
    expected: dict[str, float] = field(default_factory=dict)
    now: float = 100.0
    run: list[str] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Scripted:
        methods = [registry.find(name) for name in self.seconds]
        monkeypatch.setattr(registry, "candidates", lambda holds: methods)
        for module in (auto, time_limit):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)
        monkeypatch.setattr(tried, "deliver", self.deliver)
        monkeypatch.setattr(tried.Tried, "trusts", lambda results, _dice: self.trusts(results))
        monkeypatch.setattr(auto, "judge_among", lambda trust, _others: trust)
        monkeypatch.setattr(
            time_limit.Forecast,
            "_expect",
            lambda _, engine: {**self.seconds, **self.expected}[engine.method.name],
        )
        return self

    def deliver(self, image: ImageRun, folder: Path, gate: str) -> dict[str, Any]:
        """As ``run.deliver``, for a method that is tried."""
        name = image.engine.method.name
        self.run.append(name)
        for step in range(10):
            image.reporter("adapting", step, 10)
            self.now += self.seconds[name] / 10
        if name in self.errors:
            raise self.errors[name]
        labels = np.zeros(image.target.volume.geometry.shape, np.uint8)
        start = 5 + self.shift.get(name, 0)
        labels[:, :, start : start + 10] = 1
        geometry, description = image.target.volume.geometry, image.engine.model.description
        write_segmentation(
            folder / "segmentation.seg.nrrd", labels, geometry, description.labels, name
        )
        (folder / "entropy.nrrd").write_text(name)
        report = {"method": name, "title": image.engine.method.title, "notes": [f"of {name}"]}
        report |= {"volumes": [], "seconds": {"adaptation": 1.0}, "peak_memory_mb": {}}
        report |= {"trust": {"reasons": []}, "options": image.engine.options.to_dict()}
        (folder / "report.json").write_text(json.dumps(report))
        return report

    def trusts(self, results: tried.Tried) -> dict[str, dict[str, Any]]:
        return {
            name: {
                "decision": LOOK if name in self.look else BETTER if name in self.harm else KEEP,
                "adopted": name in self.harm and name not in self.look,
                "harm": self.harm.get(name, 0.7 + 0.01 * number),
                "delivered": "result",
                "reasons": [],
                "signals": {"agreement": 0.5, "others": None},
            }
            for number, name in enumerate(results.reports)
        }


@pytest.fixture
def chosen(
    tiny_bundle: Path, head_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[dict[str, Any], Path]]:
    """``chosen(scripted, gate="on", time_limit=300)``: the report and the folder."""

    def run(
        scripted: Scripted, gate: str = "on", time_limit: float = 300.0
    ) -> tuple[dict[str, Any], Path]:
        options = {"time_limit": time_limit}
        engine = open_engine(tiny_bundle, "auto", options, torch.device("cpu"), 0)
        image = ImageRun.read(engine, [head_file], Reading(), Reporter())
        image.stages.seconds.clear()
        image.stages.seconds["source segmentation"] = 2.0
        scripted.install(monkeypatch)
        folder = tmp_path / "out"
        folder.mkdir()
        deliver_best(image, folder, gate, {"cohort": "each"})
        return report_of(folder), folder

    return run


def left_out(report: dict[str, Any]) -> dict[str, str]:
    return {row["method"]: row["why"] for row in report["auto"]["left_out"]}


# --- Which methods -----------------------------------------------------------------------------


def test_the_order_names_methods_that_exist_and_serve_the_kind_of_network() -> None:
    for (normalised, dims), names in ORDER.items():
        holds = {needs.EARLY_HEAD, needs.DIFFUSION}
        holds |= {needs.BATCH_NORM} if normalised else set()
        holds |= {needs.THREE_D} if dims == 3 else set()
        found = [method.name for method in registry.candidates(holds)]
        assert found[: len(names)] == list(names)
        assert len(set(found)) == len(found)


def test_every_method_is_a_candidate_but_those_from_labels_the_reference_and_itself() -> None:
    everything = set(needs.REMEDIES)
    found = {method.name for method in registry.candidates(everything)}
    assert set(registry.METHODS) - found == {"auto", "none", "few-labels"}
    without = {method.name for method in registry.candidates(set())}
    assert "adami" in without and not without & {"heal", "bn-statistics", "early-features", "muvi"}


def test_the_limit_is_120_seconds_on_a_gpu_and_300_on_a_cpu_unless_it_is_given() -> None:
    options = registry.find("auto").values({})
    assert (options.seconds(on_cpu=False), options.seconds(on_cpu=True)) == (120.0, 300.0)
    given = registry.find("auto").values({"time_limit": "40"})
    assert given.seconds(on_cpu=True) == given.seconds(on_cpu=False) == 40.0


# --- What is delivered -------------------------------------------------------------------------


def test_the_better_result_with_the_least_harm_is_at_the_top_and_the_others_lie_beside(
    chosen: Callable[..., tuple[dict[str, Any], Path]],
) -> None:
    scripted = Scripted(
        {"adami": 20, "tent": 10, "heal": 30}, {"adami": 0.3, "tent": 0.25}, {"heal": 5}
    )
    report, folder = chosen(scripted)
    assert (report["method"], report["auto"]["chosen"]) == ("tent", "tent")
    assert report["trust"]["decision"] == BETTER and report["cohort"] == "each"
    assert (folder / "entropy.nrrd").read_text() == "tent"
    assert {entry.name for entry in (folder / "tried").iterdir()} == {"adami", "heal"}
    rows = {row["method"]: row for row in report["auto"]["tried"]}
    assert {name: row["folder"] for name, row in rows.items()} == {
        "adami": "tried/adami",
        "tent": ".",
        "heal": "tried/heal",
    }
    for row in rows.values():
        assert (folder / row["folder"] / "report.json").is_file() and row["error"] is None
    assert report["auto"]["why"] == (
        "TENT is delivered because 2 of 3 results are better than the source model's, and of these"
        " its own has the best verdict and, to within 1 %, the lowest chance of being worse (25 %)"
    )
    assert report["notes"] == [
        "of tent",
        f"Automatic choice: {report['auto']['why']}.",
        'Automatic choice: also tried: AdaMI, with the verdict "better and plausible"; HEAL, with'
        ' the verdict "no better: the source model\'s is kept".',
    ]
    assert report["auto"]["time_limit"] == 300.0
    assert report["auto"]["seconds"] == pytest.approx(2 + 60), "reading and the source's included"


def test_without_a_better_result_the_source_models_is_delivered_with_the_verdict_on_the_nearest(
    chosen: Callable[..., tuple[dict[str, Any], Path]],
) -> None:
    report, folder = chosen(Scripted({"adami": 20, "tent": 10}))
    assert (report["method"], report["auto"]["chosen"]) == ("none", "none")
    assert report["auto"]["why"] == (
        "the source model's segmentation is delivered because none of 2 results is clearly better"
        " than the source model's; the verdict is on the result of AdaMI, which comes closest"
    )
    assert report["trust"]["decision"] == KEEP and report["trust"]["delivered"] == "source"
    assert {entry.name for entry in (folder / "tried").iterdir()} == {"adami", "tent"}
    same = [folder / name for name in ("segmentation.seg.nrrd", "source_segmentation.seg.nrrd")]
    assert same[0].read_bytes() == same[1].read_bytes()
    assert report["files_written"]["tried"] == "tried"


def test_with_the_gate_off_the_result_that_comes_closest_is_delivered(
    chosen: Callable[..., tuple[dict[str, Any], Path]],
) -> None:
    """TENT's, which is to be looked at, though AdaMI's has a lower chance of being worse."""
    scripted = Scripted({"adami": 20, "tent": 10, "heal": 5}, {"tent": 0.8}, look=("tent",))
    report, folder = chosen(scripted, gate="off")
    assert report["method"] == "tent" and (folder / "entropy.nrrd").read_text() == "tent"
    assert report["auto"]["why"] == (
        "TENT is delivered because the gate is off, although none of 3 results is clearly better"
        " than the source model's; it comes closest (chance of being worse 80 %)"
    )
    assert report["trust"]["delivered"] == "result"


def test_the_better_one_is_delivered_with_the_gate_off_too(
    chosen: Callable[..., tuple[dict[str, Any], Path]],
) -> None:
    report, _ = chosen(Scripted({"adami": 20, "tent": 10}, {"tent": 0.2}), gate="off")
    assert report["method"] == "tent"
    assert report["auto"]["why"] == (
        "TENT is delivered because its result is better than the source model's, as the only one of"
        " 2 (chance of being worse 20 %)"
    )


# --- When the search ends ----------------------------------------------------------------------


def test_the_search_ends_when_a_better_result_is_confirmed_by_another(
    chosen: Callable[..., tuple[dict[str, Any], Path]],
) -> None:
    scripted = Scripted(
        {"bn-statistics": 1, "adami": 20, "tent": 10, "heal": 30},
        {"adami": 0.05, "tent": 0.2, "bn-statistics": 0.4},
        {"bn-statistics": 4},  # Dice 0.6 with the others
    )
    report, _ = chosen(scripted)
    assert scripted.run == ["bn-statistics", "adami", "tent"]
    reason = (
        "the results of AdaMI and TENT are better than the source model's and agree (Dice 1.00)"
    )
    assert left_out(report) == {"heal": f"not needed: {reason}"}
    assert f"Automatic choice: not tried: HEAL, because {reason}." in report["notes"]


@pytest.mark.parametrize(
    ("harm", "shift"),
    [({"adami": 0.3, "tent": 0.3}, 0), ({"adami": 0.05}, 0), ({"adami": 0.05, "tent": 0.2}, 4)],
)
def test_it_goes_on_while_nothing_is_sure_better_twice_and_alike(
    chosen: Callable[..., tuple[dict[str, Any], Path]], harm: dict[str, float], shift: int
) -> None:
    scripted = Scripted({"adami": 20, "tent": 10, "heal": 30}, harm, {"tent": shift, "heal": 9})
    chosen(scripted)
    assert scripted.run == ["adami", "tent", "heal"]


def test_a_method_that_does_not_fit_is_left_out_and_a_shorter_one_tried(
    chosen: Callable[..., tuple[dict[str, Any], Path]],
) -> None:
    scripted = Scripted({"adami": 20, "heal": 30, "tent": 10})
    report, _ = chosen(scripted, time_limit=40)
    assert scripted.run == ["adami", "tent"]
    assert left_out(report) == {"heal": "it needs about 30 s, 18 s were left"}
    note = "Automatic choice: not tried within 40 s, the time limit: HEAL."
    assert note in report["notes"]


def test_what_methods_took_corrects_what_is_expected_of_the_next(
    chosen: Callable[..., tuple[dict[str, Any], Path]],
) -> None:
    """AdaMI takes three times as long as expected, so that HEAL is expected to take 90 s."""
    scripted = Scripted({"adami": 60, "heal": 30}, expected={"adami": 20})
    report, _ = chosen(scripted, time_limit=140)
    assert left_out(report) == {"heal": "it needs about 90 s, 78 s were left"}


def test_a_method_that_is_not_done_at_the_limit_is_ended(
    chosen: Callable[..., tuple[dict[str, Any], Path]],
) -> None:
    scripted = Scripted({"tent": 10, "adami": 200}, {"tent": 0.2}, expected={"adami": 20})
    report, folder = chosen(scripted, time_limit=60)
    assert report["method"] == "tent"
    error = "not finished at the time limit of 60 s; raise time_limit"
    assert [row["error"] for row in report["auto"]["tried"]] == [None, error]
    assert not (folder / "tried").exists()
    assert scripted.now < 100 + 60 + 21


def test_where_no_method_fits_the_source_models_result_is_delivered_and_says_so(
    chosen: Callable[..., tuple[dict[str, Any], Path]],
) -> None:
    report, folder = chosen(Scripted({"adami": 20, "tent": 10}), time_limit=5)
    assert report["method"] == "none" and report["trust"] is None
    assert "no method fits into the time limit of 5 s; raise it" in report["auto"]["why"]
    assert set(left_out(report)) == {"adami", "tent"} and report["auto"]["tried"] == []
    assert "tried" not in files_in(folder) and "tried" not in report["files_written"]


# --- Failures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RequestError("it has no prior"), OutOfMemoryError("too large")])
def test_a_method_that_fails_is_recorded_and_the_next_one_tried(
    chosen: Callable[..., tuple[dict[str, Any], Path]], error: Exception
) -> None:
    scripted = Scripted({"adami": 20, "tent": 10}, {"tent": 0.2}, errors={"adami": error})
    report, folder = chosen(scripted)
    assert report["method"] == "tent"
    failed, worked = report["auto"]["tried"]
    assert (failed["error"], failed["folder"], worked["error"]) == (str(error), None, None)
    assert f"Automatic choice: AdaMI failed: {error}." in report["notes"]
    assert not (folder / "tried").exists(), "nothing of it is left"


def test_where_every_method_fails_the_source_models_result_is_delivered(
    chosen: Callable[..., tuple[dict[str, Any], Path]],
) -> None:
    scripted = Scripted({"adami": 20}, errors={"adami": RequestError("it has no prior")})
    report, _ = chosen(scripted)
    assert report["method"] == "none" and "no method worked" in report["auto"]["why"]


@pytest.mark.parametrize("error", [Cancelled("by the user"), ValueError("a bug")])
def test_a_cancelled_run_and_a_bug_end_it(
    chosen: Callable[..., tuple[dict[str, Any], Path]], error: BaseException
) -> None:
    with pytest.raises(type(error)):
        chosen(Scripted({"adami": 20}, errors={"adami": error}))


# --- Real methods ------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two methods are tried, each as short as it can be."""
    real = Method.values

    def values(self: Method, given: dict[str, Any], *more: Any) -> Any:
        known = {option.name for option in self.options}
        usual = {name: value for name, value in QUICK.items() if name in known}
        return real(self, {**usual, **given}, *more)

    few = [registry.find(name) for name in ("bn-statistics", "tent")]
    monkeypatch.setattr(registry, "candidates", lambda holds: few)
    monkeypatch.setattr(Method, "values", values)


def test_the_result_is_that_of_a_run_of_the_chosen_method_alone(
    quick: None, phantom: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With bundle, image and source segmentation read and made once."""
    monkeypatch.setattr(auto, "best", lambda trusts: "tent" if "tent" in trusts else None)
    made, stages = phantom(), []
    common = ["--bundle", made.bundle, "--input", made.image, "--device", "cpu"]
    real = ImageRun.attempt
    monkeypatch.setattr(
        ImageRun, "attempt", lambda self, name, work: stages.append(name) or real(self, name, work)
    )
    assert main([*map(str, ["run", *common, "--output", tmp_path / "auto"])]) == 0
    assert stages.count("segmentation") == stages.count("judging") == 2
    alone = ["run", *common, "--method", "tent", "--gate", "off", "--output", tmp_path / "alone"]
    assert main([*map(str, alone)]) == 0

    found = files_in(tmp_path / "alone")
    there = {name for name in files_in(tmp_path / "auto") if not name.startswith("tried/")}
    assert there == found
    for name in found - {"report.json"}:
        assert (tmp_path / "auto" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    report, other = report_of(tmp_path / "auto"), report_of(tmp_path / "alone")
    for key in ("method", "title", "options", "volumes", "uncertainty", "adaptation", "bundle"):
        assert report[key] == other[key], key
    assert report["trust"]["signals"]["others"] is not None, "the judge knows of the other one"
    assert (tmp_path / "auto" / "tried" / "bn-statistics" / "report.json").is_file()
    assert not any(note.startswith("judge:") for note in report["notes"])


def test_a_cohort_chooses_for_every_image(
    quick: None, phantom: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here no result is better: the source's is delivered, with the verdict on the closest one."""
    monkeypatch.setattr(auto, "best", lambda trusts: None)
    made = phantom()
    request = ["cohort", "--bundle", made.bundle, "--input", made.image, "--device", "cpu"]
    assert main([*map(str, [*request, "--output", tmp_path / "out"])]) == 0
    summary = json.loads((tmp_path / "out" / "cohort.json").read_text())
    assert (summary["method"], summary["done"]) == ("auto", 1)
    report = report_of(tmp_path / "out" / "head")
    assert (report["method"], report["cohort"], report["auto"]["chosen"]) == (
        "none",
        "each",
        "none",
    )
    assert report["trust"]["delivered"] == "source"
    assert summary["images"][0]["trust"]["delivered"] == "source"


# --- Requests ----------------------------------------------------------------------------------


def test_a_request_without_a_method_is_automatic() -> None:
    assert Job(**FILES).checked().method == Cohort(**FILES).checked().method == "auto"
    assert next(iter(registry.METHODS)) == "auto"


def test_the_automatic_choice_is_not_compared_with_the_methods_it_chooses_among() -> None:
    comparison = Comparison(**FILES, methods={"auto": {}, "adami": {}})
    with pytest.raises(RequestError, match="found auto, which chooses among"):
        comparison.checked()


def test_the_automatic_choice_can_adapt_once_to_a_cohort() -> None:
    assert Cohort(**FILES, adapt="once").checked().method == "auto"


def test_the_time_limit_has_an_argument_of_its_own(
    tiny_bundle: Path, head_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    common = ["run", "--bundle", str(tiny_bundle), "--input", str(head_file), "--device", "cpu"]
    common += ["--output", str(tmp_path / "out")]
    assert main([*common, "--time-limit", "0"]) == 2
    assert 'option time_limit: found "0", expected a number from 1' in caplog.messages[-1]
    assert main([*common, "--method", "heal", "--time-limit", "20"]) == 2
    assert 'method heal: found the option "time_limit"' in caplog.messages[-1]
    assert main([*common, "--time-limit", "20", "--option", "time_limit=30"]) == 2
    assert "found --time-limit and --option time_limit" in caplog.messages[-1]


def test_better_are_the_results_that_the_judge_would_choose() -> None:
    def trust(decision: str) -> dict[str, Any]:
        adopted = decision == BETTER
        signals = {"agreement": 0.5}
        return {"decision": decision, "adopted": adopted, "harm": 0.1, "signals": signals}

    trusts = {"adami": trust(BETTER), "tent": trust(KEEP), "none": None}
    assert auto.better(trusts) == [choice(trusts)] == [auto.best(trusts)] == ["adami"]
    assert auto.best({"tent": trust(KEEP)}) is None


def test_of_results_that_are_equally_likely_to_be_worse_the_first_in_the_order_is_taken() -> None:
    def trust(harm: float, decision: str = BETTER) -> dict[str, Any]:
        signals = {"agreement": 0.5}
        return {"decision": decision, "adopted": True, "harm": harm, "signals": signals}

    assert auto.best({"adami": trust(0.039), "iapc": trust(0.03)}) == "adami"
    assert auto.best({"adami": trust(0.041), "iapc": trust(0.03)}) == "iapc"
    assert auto.best({"adami": trust(0.031, LOOK), "iapc": trust(0.03)}) == "iapc"


def test_the_one_way_to_deliver_a_result_leads_to_the_choice(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, head_file: Path, tmp_path: Path
) -> None:
    engine = open_engine(tiny_bundle, "auto", {}, torch.device("cpu"), 0)
    image = ImageRun.read(engine, [head_file], Reading(), Reporter())
    monkeypatch.setattr(auto, "deliver_best", lambda *arguments: {"given": arguments})
    assert deliver(image, tmp_path, "off")["given"] == (image, tmp_path, "off", {})


@pytest.mark.parametrize("preset", ["recommended", "published"])
def test_the_methods_that_are_tried_have_the_options_of_the_preset(
    tiny_bundle: Path, preset: str
) -> None:
    engine = open_engine(tiny_bundle, "auto", {}, torch.device("cpu"), 0, preset=preset)
    tried = {one.method.name: one for one in engine.tries()}
    assert tried["adami"].options == registry.find("adami").values({}, preset)
    assert {one.method.preset_of(one.options.to_dict()) for one in tried.values()} <= {
        "recommended",  # where a method has the same values in both
        preset,
    }
