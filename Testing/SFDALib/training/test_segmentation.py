"""The training of a segmentation network: the bundle that it leaves, its calibration, its loss."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.losses import DiceLoss
from paths import PARITY
from training_site import SEGMENTATION, STEPS, Site, weights

from SFDALib.__main__ import main
from SFDALib.bundle.open_model import open_model
from SFDALib.inference.predict import predict
from SFDALib.jobs.inspect import inspect
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.training.manifest import Case, load_cases, read_manifest
from SFDALib.training.patches import Patches
from SFDALib.training.segmentation import calibrate, segmentation_loss
from SFDALib.volume.conform import conform
from SFDALib.volume.image_file import read_volume

# --- What a training leaves --------------------------------------------------------------------


def test_three_trainings_make_a_complete_bundle(trained: Path) -> None:
    facts = inspect(trained)
    assert facts["name"] == "Brain of a phantom"
    assert facts["early_head"]
    assert facts["diffusion"]
    assert set(facts["unavailable"]) == {"muvi", "few-labels"}  # of a 2D model, without labels
    assert set(facts["methods"]) >= {"none", "heal", "adami", "adaent", "early-features"}
    model = open_model(trained).load(torch.device("cpu"))
    assert model.description.early_head.channels == 4
    assert model.description.diffusion.timesteps == 50
    assert [path.name for path in trained.parent.glob(".*")] == [], "no work folder is left"


def test_inspect_reads_the_trained_bundle_in_words(
    trained: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["inspect", str(trained)]) == 0
    words = capsys.readouterr().out
    assert "trained on      phantom head" in words
    assert "early head      yes" in words
    assert "diffusion model yes" in words


def test_later_trainings_carry_the_earlier_weights_over(site: Site, trained: Path) -> None:
    first, last = weights(site.folder / "one"), weights(trained)
    assert list(first) == list(last)
    for name, value in first.items():
        kept = value.half() if value.is_floating_point() else value  # the last wrote --half
        assert torch.equal(last[name], kept)


def test_label_statistics_are_those_of_the_training_cases(site: Site, trained: Path) -> None:
    """By hand: voxels of the label files, on the model's grid for the area of a slice."""
    (label,) = open_model(trained).load(torch.device("cpu")).description.labels
    volumes = []
    for name in "ab":
        image = sitk.ReadImage(str(site.folder / f"{name}-brain.nrrd"))
        count = int(sitk.GetArrayFromImage(image).sum())
        volumes.append(count * np.prod(image.GetSpacing()) / 1000)
    ellipsoid = 4 / 3 * np.pi * 24 * 30 * 20 / 1000
    assert np.mean(volumes) == pytest.approx(ellipsoid, rel=0.06)
    assert label.mean_ml == pytest.approx(np.mean(volumes), rel=0.03)  # resampled to 3 mm
    assert label.size_ml[0] == pytest.approx(0.75 * min(volumes), rel=0.03)
    assert label.size_ml[1] == pytest.approx(1.25 * max(volumes), rel=0.03)
    # the mean section of an ellipsoid along an axis of half length c is V / 2c; b is oblique
    assert 0.6 * ellipsoid / 60 < label.slice_area_mm2 / 1000 < 1.2 * ellipsoid / 40
    areas = []
    grid = open_model(trained).load(torch.device("cpu")).description.input_spec
    for case in load_cases(read_manifest(site.manifest), "train", grid, 2, site.folder / "cache"):
        pixels = np.count_nonzero(case.labels, axis=(1, 2))
        areas += list(pixels[pixels > 0] * case.spacing_kji[1] * case.spacing_kji[2])
    assert label.slice_area_mm2 == pytest.approx(np.mean(areas), abs=0.01)


def test_what_the_model_does_at_home_is_that_of_the_held_out_case(
    site: Site, trained: Path
) -> None:
    """The same from the written bundle, whose weights are in half precision."""
    model = open_model(trained).load(torch.device("cpu"))
    grid, told = model.description.input_spec, model.description.at_home
    (case,) = load_cases(read_manifest(site.manifest), "val", grid, 2, site.folder / "cache")
    p = predict(model, np.array(case.image), InferenceOptions())
    found = p.argmax(0).numpy() == 1
    truth = case.labels == 1
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    bits = -(p * p.clamp(min=1e-12).log2()).sum(0).numpy()
    assert told.cases == 1
    assert told.dice == pytest.approx(dice, abs=0.01) and told.dice > 0.8
    assert told.entropy_bits == pytest.approx(bits[found].mean(), abs=0.01)
    assert 0.5 < told.stability <= 1


def test_the_plausible_shape_is_that_of_the_training_cases(trained: Path) -> None:
    """Half axes of 30, 24 and 20 mm, resampled to 3 mm; from 25 % below to 25 % above."""
    (label,) = open_model(trained).load(torch.device("cpu")).description.labels
    low, high = zip(label.shape.length_mm, label.shape.width_mm, strict=True)
    assert low == pytest.approx((0.75 * 60, 0.75 * 48), rel=0.08)
    assert high == pytest.approx((1.25 * 60, 1.25 * 48), rel=0.08)
    assert label.shape.distance_mm is None, "the model has one structure"


def test_sizes_that_the_configuration_states_are_kept(site: Site) -> None:
    config = {**SEGMENTATION, "labels": [{**SEGMENTATION["labels"][0], "size_ml": [20, 900]}]}
    words = site.segmentation("stated", "--steps", 1)
    words[words.index("--config") + 1] = str(site.write("stated.json", config))
    assert main(words) == 0
    (label,) = open_model(site.folder / "stated").load(torch.device("cpu")).description.labels
    assert label.size_ml == (20, 900)
    assert 40 < label.mean_ml < 80


def test_the_bundle_tells_how_it_came_about(trained: Path) -> None:
    provenance = inspect(trained)["provenance"]
    assert list(provenance) == ["segmentation", "early_head", "diffusion"]
    told = provenance["segmentation"]
    assert told["cases"] == ["a.nii.gz", "b.nii.gz"]
    assert (told["steps"], told["batch"], told["ema"], told["seed"]) == (STEPS, 8, 0.8, 0)
    assert told["software"]["torch"] == torch.__version__
    assert 0 < told["final_loss"] < 1
    assert provenance["diffusion"]["corruption"] == 0.5
    assert provenance["diffusion"]["augment"] == "intensity"
    assert not Path(provenance["segmentation"]["cases"][0]).is_absolute(), "names, no paths"


def test_the_trained_network_segments_a_head_that_it_never_saw(site: Site, trained: Path) -> None:
    model = open_model(trained).load(torch.device("cpu"))
    image = conform(read_volume([site.folder / "d.nii.gz"]), model.description.input_spec)
    p = predict(model, image.array, InferenceOptions())
    found = image.restore_labels(p) == 1
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(site.folder / "d-brain.nrrd"))) == 1
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice > 0.8


def test_the_temperature_is_measured_on_the_held_out_cases(site: Site, trained: Path) -> None:
    model = open_model(site.folder / "one").load(torch.device("cpu"))
    grid = model.description.input_spec
    cases = load_cases(read_manifest(site.manifest), "val", grid, 2, site.folder / "cache")
    patches = Patches(cases, (32, 32), 8, "none")
    assert calibrate(model.network, patches, model.device) == model.description.temperature > 0


@pytest.mark.parametrize("sharpness", [0.6, 1.0, 3.0])
def test_calibration_finds_by_how_much_a_network_is_overconfident(sharpness: float) -> None:
    """The image says how likely each voxel's label is, and the network says it exaggerated."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0.02, 0.98, (1, 8, 64, 64)).astype(np.float32)
    labels = (rng.random(image.shape[1:]) < image[0]).astype(np.uint8)
    patches = Patches([Case("x", image, labels, (1.0, 1.0, 1.0))], (64, 64), 8, "none")
    found = calibrate(lambda x: sharpness * torch.logit(x), patches, torch.device("cpu"))
    assert found == pytest.approx(sharpness, rel=0.05)


# --- Patches and loss --------------------------------------------------------------------------


def test_dice_ce_adds_the_soft_dice_of_the_foreground() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    dice = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    expected = torch.nn.functional.cross_entropy(logits, labels) + dice(logits, labels[:, None])
    value = segmentation_loss(logits, labels, "dice-ce")
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    binary = segmentation_loss(logits[:, :1], (labels > 0).long(), "dice-ce")
    p, y = torch.sigmoid(logits[:, 0]), (labels > 0).float()
    overlap = (2 * (p * y).sum() + 1e-5) / (p.sum() + y.sum() + 1e-5)
    entropy = torch.nn.functional.binary_cross_entropy(p, y)
    assert binary.item() == pytest.approx((entropy + 1 - overlap).item(), rel=1e-5)


SFDA = json.loads((PARITY / "sfda_losses.json").read_text())


def test_the_source_loss_is_the_originals_cross_entropy() -> None:
    case = SFDA["cross_entropy"]
    labels = torch.tensor(case["target"]).argmax(dim=1)
    loss = segmentation_loss(torch.tensor(case["logits"]), labels)
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
