"""Learning from masks that a user brings: how they are named, what is refused, what is learned."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from phantoms import Phantom, write
from small_models import image, model, take_the_last_state

from SFDALib.__main__ import main
from SFDALib.adaptation.common import labelled_patches, loop
from SFDALib.adaptation.few_labels import FewLabels
from SFDALib.bundle.source import Source
from SFDALib.errors import RequestError
from SFDALib.evaluation.metrics import dice
from SFDALib.jobs.labelled import Labelled, from_json, matched, parse
from SFDALib.jobs.request import Job
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.methods.outcome import Adapted
from SFDALib.progress import silent
from SFDALib.training.manifest import Case
from SFDALib.trust.levels import LEVELS
from SFDALib.volume.image_file import read_labels, read_volume

# --- How labels are named ----------------------------------------------------------------------

FILES = {"bundle": "b", "input": ("c.nrrd",), "output": "out"}  # of a job


def test_words_name_a_segmentation_and_perhaps_its_image(tmp_path: Path) -> None:
    for name in ("b.seg.nrrd", "a.nii.gz", "notes.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "c=d.nrrd").write_text("")
    found = parse(["t1.nrrd;t2.nrrd=mask.nrrd", "mask.nrrd", str(tmp_path / "c=d.nrrd")])
    assert found[0] == Labelled("mask.nrrd", ("t1.nrrd", "t2.nrrd"))
    assert found[0].word() == "t1.nrrd;t2.nrrd=mask.nrrd"
    assert found[1] == Labelled("mask.nrrd") and found[1].word() == "mask.nrrd"
    assert found[2] == Labelled(str(tmp_path / "c=d.nrrd")), "a file of that very name"
    inside = [Path(one.labels).name for one in parse([str(tmp_path)])]
    assert inside == ["a.nii.gz", "b.seg.nrrd", "c=d.nrrd"]


def test_a_segmentation_without_an_image_belongs_to_the_input_or_the_one_of_its_name() -> None:
    (one,) = matched(parse(["mask.nrrd"]), [["t1.nrrd", "t2.nrrd"]])
    assert one.image == ("t1.nrrd", "t2.nrrd")
    images = [["a/Case1.nii.gz"], ["b/case2.nrrd"]]
    first, second = matched(parse(["m/case2.seg.nrrd", "m/case1.nrrd"]), images)
    assert (first.image, second.image) == (("b/case2.nrrd",), ("a/Case1.nii.gz",))


@pytest.mark.parametrize(
    ("words", "images", "expected"),
    [
        (["other.nrrd"], [["a.nrrd"], ["b.nrrd"]], "found 0 images of the name other"),
        (["a.nrrd"], [["x/a.nrrd"], ["y/a.nrrd"]], "found 2 images of the name a"),
        (["m.nrrd", "n.nrrd"], [["a.nrrd"]], "a second segmentation of a.nrrd"),
        (["x.nrrd=m.nrrd", "x.nrrd=n.nrrd"], [["a.nrrd"]], "a second segmentation of x.nrrd"),
    ],
)
def test_a_segmentation_is_of_exactly_one_image(
    words: list[str], images: list[list[str]], expected: str
) -> None:
    with pytest.raises(RequestError, match=expected):
        matched(parse(words), images)


@pytest.mark.parametrize(
    "value",
    [
        ["mask.nrrd"],
        [{"image": "a"}],
        [{"labels": 3}],
        [{"labels": "m", "x": 1}],
        [{"labels": "m", "image": 3}],
    ],
)
def test_labels_of_a_job_file_are_objects(value: Any) -> None:
    with pytest.raises(RequestError, match='field "labels"'):
        from_json(value, 'job.json, field "labels"')


def test_a_job_with_labels_goes_through_its_file_and_back(tmp_path: Path) -> None:
    labels = (Labelled("m.nrrd", ("a.nrrd", "b.nrrd")), Labelled("n.nrrd"))
    job = Job(**FILES, method="few-labels", labels=labels).checked()
    (tmp_path / "job.json").write_text(json.dumps(job.to_dict()))
    assert Job.from_file(tmp_path / "job.json").checked() == job


def test_labels_and_the_method_that_learns_from_them_want_each_other() -> None:
    with pytest.raises(RequestError, match="few-labels needs segmentations to learn from"):
        Job(**FILES, method="few-labels").checked()
    with pytest.raises(RequestError, match="expected none for adami"):
        Job(**FILES, method="adami", labels=(Labelled("m.nrrd"),)).checked()
    assert "labels" in registry.lacking(model().description.holds)["few-labels"]
    assert registry.lacking({*model().description.holds, "labels"})["few-labels"] is None


# --- What is learned ---------------------------------------------------------------------------


def case(seed: int = 1, shift: int = 0) -> Case:
    """The block of ``image`` with its labels."""
    found = image(seed)
    labels = np.zeros(found.array.shape[1:], np.uint8)
    labels[2:6, 4:12, 4 + shift : 12 + shift] = 1
    return Case(f"case {seed}", found.array, labels, found.geometry.spacing_kji)


def learn(source: Source, cases: list[Case], seed: int = 0, **options: Any) -> Adapted:
    method = registry.find("few-labels")
    given = {"epochs": 1, "patches": 4, "settle_bn": False, **options}
    values = method.values(given, PUBLISHED)
    return loop.adapt(method, source, [image(3)], values, seed, silent, cases)


@pytest.mark.parametrize(("dims", "classes", "outputs"), [(2, 2, None), (2, 2, 2), (3, 3, None)])
def test_few_labels_serve_every_kind_of_model_and_leave_it_alone(
    dims: int, classes: int, outputs: int | None
) -> None:
    source = model(dims, classes, outputs)
    before = copy.deepcopy(source.network.state_dict())
    first, second = (learn(source, [case()], seed=4, augment="contrast") for _ in range(2))
    assert first.curves == second.curves
    assert all(torch.equal(value, second.weights[name]) for name, value in first.weights.items())
    after = source.network.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_the_best_state_is_that_with_the_lowest_loss_on_the_labelled_images() -> None:
    """Of a softmax of two classes whose logits are given: mean over the slices of CE + 1 - Dice."""
    source = model(2, 2, 2)
    outcome = learn(source, [case()], epochs=3, learning_rate=1e-2, patches=16)
    criterion = outcome.curves["criterion"]
    assert criterion[outcome.best_epoch] == min(criterion) < criterion[0]
    images, labels = labelled_patches.whole(source, [case()])
    with torch.no_grad():
        logits = source.network(images.batch(range(8))) / source.description.temperature
    y = labels.batch(range(8))[:, 0].long()
    total = 0.0
    for z, target in zip(logits.split(4), y.split(4), strict=True):
        p, t = z.softmax(1)[:, 1], (target == 1).float()
        overlap = (2 * (p * t).sum() + 1e-5) / (p.sum() + t.sum() + 1e-5)
        total += float(torch.nn.functional.cross_entropy(z, target) + 1 - overlap) / 2
    assert criterion[0] == pytest.approx(total, rel=1e-4)


def test_a_stronger_anchor_stays_nearer_to_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    take_the_last_state(monkeypatch)
    monkeypatch.setattr(FewLabels, "selection_loss", lambda *_: None)
    source = model()
    start = dict(source.network.named_parameters())

    def moved(anchor: float) -> float:
        outcome = learn(source, [case()], epochs=4, learning_rate=1e-2, anchor=anchor)
        return sum(float((outcome.weights[n] - p).square().sum()) for n, p in start.items())

    assert moved(1e4) < 0.5 * moved(0.0)


def test_plausible_volumes_include_those_of_the_labels() -> None:
    """4 x 8 x 8 voxels of 3 x 3 x 4 mm are 9.216 ml, 25 % more 11.52, 25 % less 6.912; the bundle
    says 10 to 200.
    """
    (label,) = labelled_patches.sizes(model().description, [case()]).labels
    assert label.size_ml == pytest.approx((6.912, 200.0), rel=1e-3)
    assert label.mean_ml == pytest.approx(9.216)
    unknown = replace(model().description.labels[0], size_ml=None, mean_ml=None)
    without = replace(model().description, labels=(unknown,))
    (label,) = labelled_patches.sizes(without, [case()]).labels
    assert label.size_ml == pytest.approx((6.912, 11.52), rel=1e-3)


# --- Through the command line ------------------------------------------------------------------


@pytest.fixture
def dark(phantom: Callable[..., Phantom], tmp_path: Path) -> tuple[Phantom, Path]:
    """A phantom, and its head with inverted intensities: another contrast."""
    made = phantom()
    volume = read_volume([made.image])
    array = volume.array
    inverted = np.where(array > 20, 330 - array, array)
    return made, write(tmp_path / "dark.nrrd", inverted, volume.geometry)


def words(made: Phantom, given: Path, output: Path, *more: str) -> list[str]:
    files = ["--bundle", str(made.bundle), "--input", str(given), "--output", str(output)]
    return [*files, "--method", "few-labels", "--device", "cpu", *more]


def test_one_corrected_case_mends_a_contrast_that_the_source_fails_on(
    dark: tuple[Phantom, Path], tmp_path: Path
) -> None:
    made, given = dark
    options = ["--option", "learning_rate=1e-2", "--option", "epochs=10", "--option", "bn=train"]
    request = words(made, given, tmp_path / "out", "--gate", "off", *options)
    assert main(["run", *request, "--labels", str(made.labels)]) == 0
    reference = read_labels(made.labels).array[0] > 0
    scores = {
        name: dice(read_labels(tmp_path / "out" / f"{name}.seg.nrrd").array[0] > 0, reference)
        for name in ("source_segmentation", "adapted_segmentation")
    }
    assert scores["adapted_segmentation"] > scores["source_segmentation"] + 0.2, scores
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert [file["name"] for file in report["labels"]] == ["dark.nrrd", "labels.nrrd"]
    assert report["trust"]["decision"] in LEVELS, "judged like the rest"
    assert "learned from the labels of 1 image(s)" in report["notes"]
    assert all(math.isfinite(x) for x in report["adaptation"]["curves"]["training_loss"])


def test_a_cohort_learns_from_the_images_that_have_a_mask_and_segments_all(
    dark: tuple[Phantom, Path], tmp_path: Path
) -> None:
    made, given = dark
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir(), masks.mkdir()
    for name in ("one", "two"):
        (images / f"{name}.nrrd").write_bytes(given.read_bytes())
    (masks / "two.nrrd").write_bytes(made.labels.read_bytes())
    more = ["--labels", str(masks), "--adapt", "once", "--option", "epochs=1"]
    assert main(["cohort", *words(made, images, tmp_path / "out", *more)]) == 0
    assert (tmp_path / "out/adapted_bundle").is_dir()
    report = json.loads((tmp_path / "out/one/report.json").read_text())
    assert [file["name"] for file in report["labels"]] == ["two.nrrd", "two.nrrd"]


def test_a_comparison_has_it_where_there_are_labels(
    dark: tuple[Phantom, Path], tmp_path: Path
) -> None:
    made, given = dark
    more = ["--methods", "few-labels", "--option", "few-labels.epochs=1"]
    request = words(made, given, tmp_path / "out")
    at = request.index("--method")
    request = [*request[:at], *request[at + 2 :], *more, "--labels", str(made.labels)]
    assert main(["compare", *request]) == 0
    assert (tmp_path / "out/few-labels/adapted_bundle").is_dir()


def test_what_is_no_segmentation_of_the_image_is_refused_in_one_line(
    dark: tuple[Phantom, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, given = dark

    def refused(labels: sitk.Image) -> str:
        sitk.WriteImage(labels, str(tmp_path / "mask.nrrd"))
        caplog.clear()
        request = words(made, given, tmp_path / "out", "--labels", str(tmp_path / "mask.nrrd"))
        assert main(["run", *request]) == 2
        assert not (tmp_path / "out").exists()
        return caplog.messages[-1]

    good = sitk.ReadImage(str(made.labels))
    moved = sitk.Image(good)
    moved.SetOrigin([mm + 3 for mm in good.GetOrigin()])
    assert "found another grid" in refused(moved)
    assert "found label 7, expected at most 1" in refused(good * 7)
    assert "found background alone" in refused(good * 0)
    assert "found 1 channel(s) with values 0 to 0.5" in refused(
        sitk.Cast(good, sitk.sitkFloat32) * 0.5
    )
    assert main(["run", *words(made, given, tmp_path / "out", "--labels", "nowhere.nrrd")]) == 2
    assert "nowhere.nrrd: no such file" in caplog.messages[-1]


def test_an_estimate_knows_the_method_without_its_labels(
    phantom: Callable[..., Phantom], capsys: pytest.CaptureFixture
) -> None:
    request = ["estimate", "--bundle", str(phantom().bundle), "--method", "few-labels", "--json"]
    request += ["--size", "36,40,14", "--spacing", "2.5,2.2,6", "--device", "cpu"]
    assert main(request) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] > 0
    method = registry.find("few-labels")
    work = method.work(method.values({"epochs": 3, "patches": 8}, PUBLISHED))
    assert (work.patches, work.epochs) == (24, 0)
