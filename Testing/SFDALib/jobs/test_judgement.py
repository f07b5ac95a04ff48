"""What the gate does with a verdict, and how the best of several results is chosen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import Phantom
from signals_by_hand import GOOD

from SFDALib.__main__ import main
from SFDALib.evaluation.agreement import label_dice
from SFDALib.jobs import judgement
from SFDALib.jobs.request import Job
from SFDALib.trust.findings import Finding
from SFDALib.trust.judge import judge
from SFDALib.trust.levels import LEVELS, Decision, Delivered
from SFDALib.trust.verdict import Verdict


def run(phantom: Phantom, output: Path, *words: str, method: str = "adami") -> Path:
    request = ["--bundle", phantom.bundle, "--input", phantom.image, "--method", method]
    request += ["--output", output, "--device", "cpu"]
    if method == "adami":
        request += ["--option", "epochs=1", "--option", "learning_rate=1e-3"]
    assert main(["run", *map(str, request), *words]) == 0
    return output


def labels_of(folder: Path, name: str) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{name}.seg.nrrd")))


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def say(decision: Decision) -> Callable[..., Verdict]:
    return lambda signals, *found: Verdict(decision, 0.4, "So", ("as the test wants it",))


@pytest.mark.parametrize(
    ("decision", "gate", "delivered"),
    [
        ("better", "on", "result"),
        ("look", "on", "source"),
        ("both-wrong", "on", "source"),
        ("keep", "off", "result"),
    ],
)
def test_the_gate_changes_only_what_is_delivered(
    phantom: Callable[..., Phantom],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    decision: Decision,
    gate: str,
    delivered: Delivered,
) -> None:
    monkeypatch.setattr(judgement, "judge", say(decision))
    out = run(phantom(), tmp_path / "out", "--gate", gate)
    source, result = (labels_of(out, f"{name}_segmentation") for name in ("source", "adapted"))
    assert (source != result).any()
    assert (labels_of(out, "segmentation") == {"source": source, "result": result}[delivered]).all()
    trust = report_of(out)["trust"]
    assert (trust["decision"], trust["delivered"]) == (decision, delivered)
    tags = sitk.ReadImage(str(out / "segmentation.seg.nrrd")).GetMetaData("Segment0_Tags")
    made_by = {"source": "No adaptation", "result": report_of(out)["title"]}[delivered]
    assert f"DICOM.SegmentAlgorithmName:{made_by} (" in tags
    assert trust["reasons"] == ["as the test wants it"]
    assert trust["signals"]["agreement"] == pytest.approx(label_dice(source, result), abs=0.1)
    level = LEVELS[decision]
    assert trust["sentence"] == f"So: {level.advice[delivered]}."
    told = f"verdict ({level.colour}): {trust['sentence']} Why: as the test wants it."
    assert told in report_of(out)["notes"]


def test_samples_of_heal_are_among_the_signals(
    phantom: Callable[..., Phantom], tmp_path: Path
) -> None:
    words = ("--option", "samples=3", "--option", "steps=2", "--option", "tau2=10")
    out = run(phantom(), tmp_path / "out", *words, method="heal")
    report = report_of(out)
    scores = [sample["score"] for sample in report["details"]["samples"]]
    found = report["trust"]["signals"]
    assert found["draw_spread"] == pytest.approx(max(scores) - min(scores))
    assert 0 <= found["draw_agreement"] <= 1
    assert report_of(run(phantom(), tmp_path / "adami"))["trust"]["signals"]["draw_spread"] is None


def trust(decision: str, harm: float, adopted: bool) -> dict[str, Any]:
    return {"decision": decision, "harm": harm, "adopted": adopted}


def test_the_choice_is_the_best_result_that_may_be_delivered() -> None:
    trusts = {
        "none": None,
        "heal": trust("better", 0.2, True),
        "tent": trust("better", 0.1, True),
        "adami": trust("look", 0.05, True),
        "dpl": trust("look", 0.01, False),
    }
    assert judgement.choice(trusts) == "tent"
    assert judgement.choice({name: trusts[name] for name in ("none", "adami", "dpl")}) == "adami"
    assert judgement.choice({name: trusts[name] for name in ("none", "dpl")}) is None


def test_what_was_found_is_judged_again_among_other_methods() -> None:
    signals = replace(GOOD, others=None)
    large = Finding("too large", "Brain", "Brain is too large")
    alone = judge(signals, (), (large,)).to_dict(signals, "result")
    among = judgement.judge_among(alone, 0.9)
    assert among["signals"]["others"] == 0.9
    assert (among["decision"], among["findings"]) == ("look", alone["findings"])
    assert "Brain is too large" in among["sentence"]


def test_a_volume_outside_its_range_is_found_and_the_sources_is_delivered(
    phantom: Callable[..., Phantom], tmp_path: Path
) -> None:
    made = phantom()
    bundle = tmp_path / "bundle"
    shutil.copytree(made.bundle, bundle)
    place = bundle / "configs" / "metadata.json"
    facts = json.loads(place.read_text())
    for label in facts["sfda"]["labels"]:
        label["size_ml"] = [1e-6, 2e-6]  # anything is larger
    place.write_text(json.dumps(facts))
    trust = report_of(run(replace(made, bundle=bundle), tmp_path / "out"))["trust"]
    assert trust["decision"] != "better" and trust["delivered"] == "source"
    assert {one["kind"] for one in trust["findings"]} >= {"too large"}
    assert "is too large" in trust["sentence"]


def test_doing_nothing_is_not_judged(phantom: Callable[..., Phantom], tmp_path: Path) -> None:
    out = run(phantom(), tmp_path / "out", method="none")
    assert report_of(out)["trust"] is None
    assert not (out / "adapted_segmentation.seg.nrrd").exists()


def test_a_cohort_follows_the_gate_image_by_image(
    phantom: Callable[..., Phantom], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judgement, "judge", say("keep"))
    made = phantom()
    request = ["--bundle", made.bundle, "--input", made.image, "--method", "adami"]
    request += ["--output", tmp_path / "out", "--option", "epochs=1", "--device", "cpu"]
    assert main(["cohort", *map(str, request)]) == 0
    (row,) = json.loads((tmp_path / "out/cohort.json").read_text())["images"]
    assert row["trust"]["decision"] == "keep" and row["trust"]["delivered"] == "source"
    assert row["trust"]["sentence"].endswith("the source model's segmentation is kept.")
    folder = tmp_path / "out" / row["folder"]
    delivered, source = labels_of(folder, "segmentation"), labels_of(folder, "source_segmentation")
    assert (delivered == source).all()


def test_the_gate_is_a_field_of_the_job(tmp_path: Path) -> None:
    fields = {"bundle": "b", "input": "i.nrrd", "method": "none", "output": "o"}
    assert Job(**fields).gate == "on"
    (tmp_path / "job.json").write_text(json.dumps({**fields, "gate": "off"}))
    assert Job.from_file(tmp_path / "job.json").checked().gate == "off"


def test_a_gate_that_is_neither_on_nor_off_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fields = {"bundle": "b", "input": "i.nrrd", "method": "none", "output": "o", "gate": "ajar"}
    (tmp_path / "job.json").write_text(json.dumps(fields))
    assert main(["run", "--job", str(tmp_path / "job.json")]) == 2
    assert 'found "ajar", expected on or off' in caplog.messages[-1]
