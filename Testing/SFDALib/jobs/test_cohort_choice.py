"""The automatic choice for a cohort: the best verdict, then the surest and likeliest results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import SimpleITK as sitk
from quick_jobs import report_of

from SFDALib.__main__ import main
from SFDALib.errors import RequestError
from SFDALib.jobs import cohort_choice
from SFDALib.jobs.cohort_choice import Attempt, Images, choose
from SFDALib.jobs.engine import Engine
from SFDALib.jobs.events import Reporter
from SFDALib.methods import registry
from SFDALib.trust.cohort import CohortVerdict, Mean
from SFDALib.trust.levels import Decision
from SFDALib.volume.reading import Reading

ONE = (Path("one.nrrd"),)
Verdicts = Mapping[str, tuple[Decision, float] | str]


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, dict[str, Any]]]:
    """``chosen(verdicts)``: what is chosen of methods with a decision, a rise of the entropy and a
    size less expected by 0.2 each, or with the line of their failure.
    """

    def choice(
        verdicts: Verdicts, limit: float = 100.0, images: int = 1
    ) -> tuple[str, dict[str, Any]]:
        def attempt(engine: Any, images: Images, deadline: Any) -> Attempt:
            found = verdicts[engine.method.name]
            if isinstance(found, str):
                raise RequestError(found)
            means = {
                "entropy rise": Mean(found[1], 0.0, 16),
                "size less expected": Mean(0.2, 0.0, 16),
            }
            verdict = CohortVerdict(found[0], 16, (), means)
            return Attempt(engine, SimpleNamespace(), verdict, 1.0)  # type: ignore[arg-type]

        def engine(name: str) -> Any:
            method = registry.find(name)
            return SimpleNamespace(method=method, options=method.values({}))

        monkeypatch.setattr(cohort_choice, "_attempt", attempt)
        tries = [engine(name) for name in verdicts]
        auto: Any = SimpleNamespace(tries=lambda: tries, time_limit=limit)
        best, facts = choose(auto, Images([ONE] * images, [], Reading()), Reporter())
        assert facts["chosen"] == (best.engine.method.name if best else "none")
        return facts["chosen"], facts

    return choice


def test_a_better_verdict_goes_before_a_surer_model(chosen: Callable) -> None:
    name, facts = chosen({"tent": ("keep", -0.9), "adami": ("better", -0.1)})
    assert name == "adami"
    assert facts["why"] == "AdaMI is used: of 2 method(s) it is the best on 1 of the images"
    assert [row["trust"]["decision"] for row in facts["tried"]] == ["keep", "better"]


def test_of_the_same_verdict_the_surer_model_is_taken(chosen: Callable) -> None:
    same: Verdicts = {"tent": ("better", -0.1), "adami": ("better", -0.3), "dpl": ("better", 0.0)}
    assert chosen(same)[0] == "adami"


def test_the_sizes_count_as_much_as_the_entropy() -> None:
    def attempt(entropy: float, size: float) -> Attempt:
        means = {
            "entropy rise": Mean(entropy, 0.0, 16),
            "size less expected": Mean(size, 0.0, 16),
        }
        nothing: Any = None
        return Attempt(nothing, nothing, CohortVerdict("better", 16, (), means), 1.0)

    assert attempt(-0.1, -0.7).rank < attempt(-0.6, -0.1).rank < attempt(-0.3, -0.3).rank


def test_a_method_that_fails_is_told_and_the_next_is_tried(chosen: Callable) -> None:
    name, facts = chosen({"tent": "tent: found no layer, expected one", "adami": ("keep", 0.0)})
    assert name == "adami"
    assert facts["tried"][0]["error"] == "tent: found no layer, expected one"


def test_a_method_that_updates_no_weights_cannot_serve_all_images(chosen: Callable) -> None:
    _, facts = chosen({"heal": ("better", -1.0), "tent": ("keep", 0.0)})
    assert [row["method"] for row in facts["tried"]] == ["tent"]


def test_without_time_the_source_model_is_used_and_the_option_is_named(chosen: Callable) -> None:
    name, facts = chosen({"tent": ("better", -1.0)}, limit=0.0)
    assert name == "none"
    assert facts["why"].endswith("no time was left of 0 s; raise time_limit")


def test_the_time_limit_is_that_of_an_image_for_each_of_them(chosen: Callable) -> None:
    assert chosen({"tent": ("keep", 0.0)}, limit=7.0, images=3)[1]["time_limit"] == 21.0


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (16, 16), (17, 9), (100, 15)])
def test_large_cohorts_are_judged_on_some_of_their_images(count: int, expected: int) -> None:
    assert len(Images([ONE] * count, [], Reading()).sample) == expected


@pytest.fixture
def slices(head_file: Path, tmp_path: Path) -> Path:
    """A folder with two single slices of the head."""
    folder = tmp_path / "images"
    folder.mkdir()
    head = sitk.ReadImage(str(head_file))
    for k in (5, 6):
        sitk.WriteImage(head[:, :, k : k + 1], str(folder / f"slice{k}.nrrd"))
    return folder


def test_a_cohort_that_adapts_once_can_choose_its_method(
    tiny_bundle: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tries(engine: Engine) -> list[Engine]:
        return [engine.serving(registry.find("bn-statistics"))]

    monkeypatch.setattr(Engine, "tries", tries)
    out = tmp_path / "out"
    request = ["--bundle", tiny_bundle, "--input", slices, "--output", out, "--device", "cpu"]
    assert main(["cohort", *map(str, request), "--adapt", "once"]) == 0
    summary = json.loads((out / "cohort.json").read_text(encoding="utf-8"))
    assert (summary["method"], summary["auto"]["chosen"]) == ("auto", "bn-statistics")
    assert summary["auto"]["tried"][0]["trust"]["images"] == 2
    assert (out / "adapted_bundle").is_dir()
    for row in summary["images"]:
        report = report_of(out / row["folder"])
        assert report["method"] == "bn-statistics" and report["trust"]["images"] == 2


def test_where_no_method_works_on_all_images_they_get_the_source_models_result(
    tiny_bundle: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Attempt:
        raise RequestError("found no layer, expected one")

    monkeypatch.setattr(cohort_choice, "_attempt", fail)
    out = tmp_path / "out"
    request = ["--bundle", tiny_bundle, "--input", slices, "--output", out, "--device", "cpu"]
    assert main(["cohort", *map(str, request), "--adapt", "once"]) == 0
    summary = json.loads((out / "cohort.json").read_text(encoding="utf-8"))
    assert (summary["done"], summary["auto"]["chosen"], summary["trust"]) == (2, "none", None)
    assert all(row["error"] for row in summary["auto"]["tried"])
    assert not (out / "adapted_bundle").exists()
    assert {report_of(out / row["folder"])["method"] for row in summary["images"]} == {"none"}
