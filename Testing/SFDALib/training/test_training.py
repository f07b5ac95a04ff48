"""Training at the source site, through the command line, on a handful of heads."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from heads import LEFT_HANDED, OBLIQUE, geometry_around_head, head
from monai.losses import DiceLoss
from paths import ROOT

from SFDALib.__main__ import main
from SFDALib.bundle.bundle_files import MODEL
from SFDALib.bundle.open_model import open_model
from SFDALib.inference.predict import predict
from SFDALib.jobs.inspect import inspect
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.training import AUGMENTATIONS, loop
from SFDALib.training import patches as patches_module
from SFDALib.training.manifest import Case, load_cases, read_manifest
from SFDALib.training.patches import Patches
from SFDALib.training.segmentation import calibrate, segmentation_loss
from SFDALib.volume.conform import conform
from SFDALib.volume.image_file import read_volume
from SFDALib.volume.input_spec import InputSpec
from SFDALib.volume.normalisation import Normalisation

GEOMETRIES = {
    "a": geometry_around_head((28, 32, 10), (3.0, 3.0, 7.5)),
    "b": geometry_around_head((36, 40, 14), (2.5, 2.2, 6.0), OBLIQUE),
    "c": geometry_around_head((24, 30, 9), (3.0, 3.2, 8.0), LEFT_HANDED),
    "d": geometry_around_head((30, 29, 11), (2.8, 3.1, 7.0)),
}
SEGMENTATION = {
    "name": "Brain of a phantom",
    "modality": "phantom head",
    "orientation": "LPS",
    "spacing": [3.0, 3.0, None],
    "normalisation": {"kind": "percentile", "lower": 0.5, "upper": 99.5},
    "patch_size": [32, 32],
    "labels": [{"value": 1, "name": "Brain", "color": [250, 170, 70]}],
    "network": {
        "_target_": "SFDALib.networks.residual_unet.ResidualUNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 1,
        "features": 4,
    },
}
DIFFUSION = {
    "network": {
        "_target_": "SFDALib.networks.diffusion_unet.ConditionalDiffusionUNet",
        "spatial_dims": 2,
        "image_channels": 1,
        "condition_channels": 2,
        "channels": [8, 8],
        "num_res_blocks": 1,
        "attention_levels": [False, False],
        "num_head_channels": [0, 8],
        "norm_num_groups": 4,
    },
    "spacing": [4.0, 4.0, None],
    "timesteps": 50,
    "foreground": True,
}
STEPS = 60
HOW = ["--steps", STEPS, "--batch", 8, "--learning-rate", 0.01, "--ema", 0.8, "--device", "cpu"]


@dataclass(frozen=True)
class Site:
    """A source site: heads "a" and "b" to train on, "c" to calibrate, "d" held out."""

    folder: Path

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.csv"

    def write(self, name: str, content: Any) -> Path:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def segmentation(self, output: str, *more: object, manifest: Path | None = None) -> list[str]:
        words = ["train", "segmentation", "--config", self.folder / "segmentation.json"]
        words += ["--manifest", manifest or self.manifest, "--output", self.folder / output]
        return [str(word) for word in [*words, *HOW, *more]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("site"))
    rows = [("image", "label", "split")]
    splits = {"a": "train", "b": "train", "c": "val", "d": "test"}
    for name, geometry in GEOMETRIES.items():
        volume = head(geometry)
        sitk.WriteImage(
            sitk.Cast(volume.to_sitk(), sitk.sitkInt16), str(site.folder / f"{name}.nii.gz")
        )
        brain = sitk.Cast(volume.to_sitk() > 200, sitk.sitkUInt8)
        sitk.WriteImage(brain, str(site.folder / f"{name}-brain.nrrd"))
        rows.append((f"{name}.nii.gz", f"{name}-brain.nrrd", splits[name]))
    with open(site.manifest, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    site.write("segmentation.json", SEGMENTATION)
    site.write("diffusion.json", DIFFUSION)
    return site


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def sfda(words: list[str]) -> None:
    """The command line in a process of its own; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "SFDALib", *words],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def trained(site: Site) -> Path:
    """A complete bundle: segmentation, early head, diffusion, each a training of its own."""
    sfda(site.segmentation("one"))
    short = ["--manifest", str(site.manifest), "--batch", "4", "--device", "cpu"]
    one, two, three = (str(site.folder / name) for name in ("one", "two", "three"))
    sfda(["train", "early-head", "--bundle", one, "--output", two, "--steps", "20", *short])
    config = str(site.folder / "diffusion.json")
    grid = ["--config", config, "--patch-size", "24,24", "--corruption", "0.5"]
    grid += ["--half", "--augment", "intensity"]
    sfda(["train", "diffusion", "--bundle", two, "--output", three, "--steps", "4", *grid, *short])
    return site.folder / "three"


def refusal(words: list[str], caplog: pytest.LogCaptureFixture) -> str:
    """The one line with which the command line refuses; nothing is left of the output."""
    caplog.clear()
    assert main(words) == 2
    (record,) = caplog.records
    line = record.getMessage()
    assert line.startswith("SFDALib: ")
    assert "\n" not in line
    return line


def weights(bundle: Path, name: str = MODEL) -> dict[str, torch.Tensor]:
    return torch.load(bundle / name, weights_only=True)


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


# --- Interruption ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(site: Site) -> str:
    """The output of a training that was killed in its middle, with a checkpoint left behind."""
    words = site.segmentation("killed", "--checkpoint-minutes", 0, "--progress", "json")
    with subprocess.Popen(
        [sys.executable, "-m", "SFDALib", *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        for step in _steps(process):
            if step > STEPS // 3:  # a step is told before its checkpoint is written
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (site.folder / "killed").exists()
    state = torch.load(site.folder / ".killed.training" / "checkpoint.pt", weights_only=True)
    assert STEPS // 3 <= state["step"] < STEPS
    return "killed"


def _steps(process: subprocess.Popen) -> Iterator[int]:
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "progress":
            assert event["total"] == STEPS
            assert event["seconds_left"] is None or event["seconds_left"] >= 0
            yield event["step"]
    pytest.fail("the training ended before it was killed")


def test_a_checkpoint_of_another_training_is_refused(
    site: Site, killed: str, caplog: pytest.LogCaptureFixture
) -> None:
    longer = site.write("other.csv", site.manifest.read_text().replace(",val", ",train"))
    config = {**SEGMENTATION, "spacing": [4.0, 4.0, None]}
    coarse = site.segmentation(killed)
    coarse[coarse.index("--config") + 1] = str(site.write("coarse.json", config))
    for words, differing in (
        (site.segmentation(killed, "--seed", 1), "seed"),
        (site.segmentation(killed, "--batch", 4), "batch"),
        (site.segmentation(killed, "--augment", "geometric"), "augment"),
        (site.segmentation(killed, manifest=longer), "cases"),
        (coarse, "grid"),
    ):
        line = refusal(words, caplog)
        assert f"checkpoint of another training (other {differing})" in line
    assert not (site.folder / killed).exists()


def test_a_killed_training_goes_on_to_the_weights_of_an_uninterrupted_one(
    site: Site, killed: str, trained: Path
) -> None:
    """Runs after the test above: its refusals must not have touched the checkpoint."""
    sfda(site.segmentation(killed))
    resumed, whole = weights(site.folder / killed), weights(site.folder / "one")
    assert list(resumed) == list(whole)
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name
    told = [inspect(site.folder / name) for name in (killed, "one")]
    assert told[0]["temperature"] == told[1]["temperature"]
    assert not (site.folder / f".{killed}.training").exists()


def test_a_case_that_was_half_cached_when_killed_is_cached_anew(site: Site) -> None:
    grid = InputSpec(1, "LPS", (3.0, 3.0, None), Normalisation(), is_2d=True)
    entries, cache = read_manifest(site.manifest), site.folder / "half"
    (whole, _) = load_cases(entries, "train", grid, 2, cache)
    expected = np.array(whole.image)
    (image_file, *_) = sorted(cache.glob("*.image.npy"))
    image_file.write_bytes(image_file.read_bytes()[:200])
    for file in cache.glob("*.label.npy"):
        file.unlink()
    (again, _) = load_cases(entries, "train", grid, 2, cache)
    assert np.array_equal(again.image, expected)


def test_a_changed_image_or_another_grid_is_not_taken_from_the_cache(site: Site) -> None:
    fine = InputSpec(1, "LPS", (3.0, 3.0, None), Normalisation(), is_2d=True)
    coarse = InputSpec(1, "LPS", (6.0, 6.0, None), Normalisation(), is_2d=True)
    entries, cache = read_manifest(site.manifest), site.folder / "grids"
    shapes = [
        load_cases(entries, "train", grid, 2, cache)[0].image.shape for grid in (fine, coarse)
    ]
    assert shapes == [(1, 10, 32, 28), (1, 10, 16, 14)]


# --- Bad requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("image,split\na.nii.gz,train\n", "no column label"),
        ("", "no column image, label, split"),
        ("image,label,split\na.nii.gz,a-brain.nrrd,val\n", "no row with split train"),
        ("image,label,split\nz.nii.gz,a-brain.nrrd,train\n", "line 2: no such file"),
        ("image,label,split\na.nii.gz,z.nrrd,train\n", "line 2: no such file"),
        ("image,label,split\na.nii.gz,,train\n", "line 2"),
        ("image,label,split\na.nii.gz,b-brain.nrrd,train\n", "another grid"),
        ("image,label,split\na.nii.gz;a.nii.gz,a-brain.nrrd,train\n", "found 2 channel(s)"),
        ("image,label,split\na.nii.gz,a.nii.gz,train\n", "found label 300"),
        ("image,label,split\n,a-brain.nrrd,train\n", "line 2"),
    ],
)
def test_a_bad_manifest_is_refused_in_one_line(
    site: Site, content: str, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = site.write("bad.csv", content)
    line = refusal(site.segmentation("bad", manifest=manifest), caplog)
    assert expected in line
    assert not (site.folder / "bad").exists()


def test_a_label_beyond_the_described_ones_is_refused(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    image = sitk.ReadImage(str(site.folder / "a-brain.nrrd"))
    image[3, 3, 3] = 2
    sitk.WriteImage(image, str(site.folder / "two.nrrd"))
    manifest = site.write("two.csv", "image,label,split\na.nii.gz,two.nrrd,train\n")
    line = refusal(site.segmentation("bad", manifest=manifest), caplog)
    assert "found label 2, expected at most 1" in line


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--steps", "0"], "--steps"),
        (["--batch", "0"], "--batch"),
        (["--learning-rate", "0"], "--learning-rate"),
        (["--learning-rate", "nan"], "--learning-rate"),
        (["--seed", "-1"], "--seed"),
        (["--ema", "1.5"], "--ema"),
        (["--checkpoint-minutes", "-1"], "--checkpoint-minutes"),
        (["--config", "nowhere.json"], "nowhere.json"),
        (["--augment", "much"], "--augment"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    site: Site, more: list[str], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert expected in refusal([*site.segmentation("bad"), *more], caplog)


def test_an_existing_output_is_refused(
    site: Site, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "exists already" in refusal(site.segmentation("one"), caplog)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"patch_size": [30, 32]}, "patch_size"),
        ({"labels": []}, "labels"),
        ({"surprise": 1}, "surprise"),
        ({"network": {"_target_": "os.system"}}, "os.system"),
    ],
)
def test_a_bad_configuration_is_refused_in_one_line(
    site: Site, change: dict, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    words = site.segmentation("bad")
    config = site.write("bad.json", {**SEGMENTATION, **change})
    words[words.index("--config") + 1] = str(config)
    assert expected in refusal(words, caplog)


# --- Several processes -------------------------------------------------------------------------


def test_two_processes_of_torchrun_train_one_bundle(site: Site) -> None:
    words = site.segmentation("two-processes", "--steps", 6, "--ema", 0, "--progress", "json")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "SFDALib", *words],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    model = open_model(site.folder / "two-processes").load(torch.device("cpu"))
    assert all(value.isfinite().all() for value in model.network.state_dict().values())
    assert int(model.network.init_path[2].path[0].norm.num_batches_tracked) == 6
    told = [json.loads(line) for line in done.stdout.splitlines()]
    steps = [event["step"] for event in told if event["event"] == "progress"]
    assert steps == sorted(set(steps)), "one process alone tells the progress"
    assert not (site.folder / ".two-processes.training").exists()


# --- Patches and loss --------------------------------------------------------------------------


def case(shape: tuple[int, ...], name: str = "x") -> Case:
    rng = np.random.default_rng(0)
    image = rng.random((1, *shape), dtype=np.float32)
    return Case(name, image, (image[0] > 0.5).astype(np.uint8), (3.0, 3.0, 3.0))


@pytest.mark.parametrize("augment", AUGMENTATIONS)
@pytest.mark.parametrize("size", [(16, 24), (8, 16, 24)])
def test_patches_are_a_function_of_seed_step_and_rank(size: tuple[int, ...], augment: str) -> None:
    patches = Patches([case((12, 20, 20)), case((6, 30, 14))], size, 4, augment)
    images, labels = patches.draw(3, 5, 0)
    assert images.shape == (4, 1, *size)
    assert images.dtype == torch.float32
    assert labels.shape == (4, *size)
    again = patches.draw(3, 5, 0)
    assert torch.equal(images, again[0])
    assert torch.equal(labels, again[1])
    for other in ((4, 5, 0), (3, 6, 0), (3, 5, 1)):
        assert not torch.equal(images, patches.draw(*other)[0])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_come_in_the_order_of_their_steps_also_when_threads_draw_them(device: str) -> None:
    drawn: list[int] = []

    def draw(step: int) -> loop.Batch:
        time.sleep(0.02 if step % 5 == 0 else 0)
        drawn.append(step)
        return (torch.tensor(step),)

    batches = loop.draw_ahead(draw, range(3, 40), torch.device(device))
    assert next(batches)[0] == 3 and len(drawn) <= 1 + loop.AHEAD
    assert [int(batch[0]) for batch in batches] == list(range(4, 40))


def test_what_fails_in_a_drawing_thread_reaches_the_training() -> None:
    def draw(step: int) -> loop.Batch:
        raise ValueError(f"step {step}")

    with pytest.raises(ValueError, match="step 0"):
        next(loop.draw_ahead(draw, range(40), torch.device("cuda")))


def test_patches_without_augmentation_keep_labels_on_their_voxels() -> None:
    images, labels = Patches([case((12, 20, 20))], (16, 16), 8, "none").draw(0, 0, 0)
    assert torch.equal((images[:, 0] > 0.5).long(), labels)


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


@pytest.mark.parametrize("size", [(16, 24), (8, 16, 24)])
def test_contrast_mixes_each_patch_with_random_convolutions_of_it(
    size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The labels stay, the image is another one of the same Frobenius norm, drawn by a generator of
    its own: threads that draw batches at once do not disturb each other.
    """
    monkeypatch.setattr(Patches, "_augmented", lambda _, image, labels, rng: (image, labels))
    monkeypatch.setattr(patches_module, "_recoloured", lambda channel, _: channel)
    cases = [case((12, 20, 28))]
    plain, labels = Patches(cases, size, 4, "intensity").draw(0, 1, 0)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    images, same = Patches(cases, size, 4, "contrast").draw(0, 1, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert images.shape == plain.shape and not torch.allclose(images, plain)
    if len(size) == 2:  # where drawing a patch takes no further numbers
        assert torch.equal(labels, same)
    norms = images.flatten(1).norm(dim=1)
    assert (norms > 0).all() and images.isfinite().all()


def test_a_diffusion_model_is_not_offered_contrasts_that_are_not_its_sources(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["train", "diffusion", "--manifest", "m", "--output", "o", "--augment", "contrast"]
    assert "--augment" in refusal(words, caplog)
