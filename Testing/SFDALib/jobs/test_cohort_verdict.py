"""Single slices are judged with their cohort; their folders become what the verdict says."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from quick_jobs import files_in, labels_of, report_of

from SFDALib.__main__ import main
from SFDALib.errors import Cancelled
from SFDALib.jobs import cohort_verdict, judgement, run
from SFDALib.trust.cohort import CohortVerdict
from SFDALib.trust.signals import Signals

SLICES = (5, 6)  # of the head


@pytest.fixture
def slices(head_file: Path, tmp_path: Path) -> Path:
    """A folder with single slices of the head, on which re-estimated statistics change much."""
    folder = tmp_path / "images"
    folder.mkdir()
    head = sitk.ReadImage(str(head_file))
    for k in SLICES:
        sitk.WriteImage(head[:, :, k : k + 1], str(folder / f"slice{k}.nrrd"))
    return folder


def words(bundle: Path, images: Path, output: Path, *more: str) -> list[str]:
    request = ["--bundle", bundle, "--input", images, "--method", "bn-statistics"]
    return [*map(str, request), "--output", str(output), "--device", "cpu", *more]


def judged(decision: Any) -> Any:
    return lambda signals: CohortVerdict(decision, len(signals), ("as the test wants it",))


def summary_of(output: Path) -> dict[str, Any]:
    return json.loads((output / "cohort.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("decision", "gate", "delivered"),
    [("better", "on", "result"), ("keep", "on", "source"), ("keep", "off", "result")],
)
def test_single_slices_are_delivered_by_the_verdict_on_all_of_them(
    tiny_bundle: Path,
    slices: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    decision: str,
    gate: str,
    delivered: str,
) -> None:
    monkeypatch.setattr(cohort_verdict, "judge_cohort", judged(decision))
    out = tmp_path / "out"
    request = words(tiny_bundle, slices, out, "--gate", gate, "--probabilities")
    assert main(["cohort", *request]) == 0
    trust = summary_of(out)["trust"]
    assert (trust["decision"], trust["delivered"], trust["images"]) == (decision, delivered, 2)
    for row in summary_of(out)["images"]:
        folder = out / row["folder"]
        found = report_of(folder)["trust"]
        assert row["trust"] == {name: found[name] for name in row["trust"]}
        assert (found["decision"], found["delivered"], found["images"]) == (decision, delivered, 2)
        assert found["reasons"] == ["as the test wants it"]
        (note,) = report_of(folder)["notes"]
        assert note.endswith(f": {trust['sentence']} Why: as the test wants it.")
        other = {"result": "adapted", "source": "source"}[delivered]
        same = (folder / f"{other}_segmentation.seg.nrrd").read_bytes()
        assert (folder / "segmentation.seg.nrrd").read_bytes() == same
        assert (
            labels_of(folder, "source_segmentation") != labels_of(folder, "adapted_segmentation")
        ).any()
        assert not (folder / cohort_verdict.SOURCE).exists()


def test_a_slice_that_gets_the_source_models_has_all_that_a_run_of_it_has(
    tiny_bundle: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort_verdict, "judge_cohort", judged("keep"))
    more = ("--probabilities", "--gate", "on")
    assert main(["cohort", *words(tiny_bundle, slices, tmp_path / "out", *more)]) == 0
    image = slices / f"slice{SLICES[0]}.nrrd"
    request = words(tiny_bundle, image, tmp_path / "none", "--probabilities")
    request[request.index("bn-statistics")] = "none"
    assert main(["run", *request]) == 0
    own, none = tmp_path / "out" / image.stem, tmp_path / "none"
    for name in ("segmentation.seg.nrrd", "probabilities.nrrd", "entropy.nrrd"):
        assert (own / name).read_bytes() == (none / name).read_bytes(), name
    assert report_of(own)["uncertainty"] == report_of(none)["uncertainty"]
    assert files_in(own) == files_in(none) | {
        "adapted_segmentation.seg.nrrd",
        *(file for file in files_in(own) if file.startswith("adapted_bundle/")),
    }


def test_a_slice_on_which_both_look_wrong_keeps_that_verdict(
    tiny_bundle: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort_verdict, "judge_cohort", judged("better"))
    real = judgement.Judgement.to_dict
    monkeypatch.setattr(
        judgement.Judgement, "to_dict", lambda one: {**real(one), "decision": "both-wrong"}
    )
    assert main(["cohort", *words(tiny_bundle, slices, tmp_path / "out")]) == 0
    for row in summary_of(tmp_path / "out")["images"]:
        assert row["trust"]["decision"] == "both-wrong" and row["trust"]["delivered"] == "source"
        assert not labels_of(tmp_path / "out" / row["folder"]).any()  # as the source model's


def test_few_slices_get_the_source_models_until_somebody_has_looked(
    tiny_bundle: Path, slices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "SFDALib.jobs.cohort")
    assert main(["cohort", *words(tiny_bundle, slices, tmp_path / "out", "--adapt", "once")]) == 0
    trust = summary_of(tmp_path / "out")["trust"]
    assert (trust["decision"], trust["delivered"]) == ("look", "source")
    assert trust["sentence"] in caplog.messages
    assert trust["reasons"] == ["found 2 image(s), expected at least 8 to judge them together"]


def test_volumes_keep_their_own_verdicts_and_are_told_of_the_cohorts(
    tiny_bundle: Path, head_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Sequence[Signals]] = []
    monkeypatch.setattr(
        cohort_verdict, "judge_cohort", lambda found: seen.append(found) or judged("better")(found)
    )
    request = words(tiny_bundle, head_file, tmp_path / "out")
    assert main(["cohort", *request, "--input", str(head_file), str(head_file)]) == 0
    assert [len(found) for found in seen] == [2]
    trust = summary_of(tmp_path / "out")["trust"]
    assert (trust["decision"], trust["delivered"]) == ("better", None)
    for row in summary_of(tmp_path / "out")["images"]:
        report = report_of(tmp_path / "out" / row["folder"])
        assert report["trust"]["delivered"] == "source" and "images" not in report["trust"]
        assert report["notes"][-1] == f"cohort: {trust['sentence']}"
        assert "every image has a verdict of its own" in trust["sentence"]


def test_of_a_cancelled_cohort_the_slices_that_are_done_are_judged(
    tiny_bundle: Path, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort_verdict, "judge_cohort", judged("better"))
    real = run.write_result

    def ending(folder: Path, *arguments: Any) -> Any:
        if f"slice{SLICES[1]}" in folder.name:
            raise Cancelled("cancelled; nothing was written")
        return real(folder, *arguments)

    monkeypatch.setattr(run, "write_result", ending)
    assert main(["cohort", *words(tiny_bundle, slices, tmp_path / "out")]) == 130
    summary = summary_of(tmp_path / "out")
    assert (summary["ended_early"], summary["done"]) == ("cancelled", 1)
    assert (summary["trust"]["images"], summary["trust"]["delivered"]) == (1, "result")
    folder = tmp_path / "out" / f"slice{SLICES[0]}"
    assert np.array_equal(labels_of(folder), labels_of(folder, "adapted_segmentation"))
    assert [entry.name for entry in (tmp_path / "out").iterdir() if entry.is_dir()] == [folder.name]


def test_the_source_model_alone_is_not_judged(
    tiny_bundle: Path, slices: Path, tmp_path: Path
) -> None:
    request = words(tiny_bundle, slices, tmp_path / "out")
    request[request.index("bn-statistics")] = "none"
    assert main(["cohort", *request]) == 0
    assert summary_of(tmp_path / "out")["trust"] is None
