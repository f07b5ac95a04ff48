"""An nnU-Net model becomes a bundle that says what nnU-Net says, or is refused by name."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunet_models import (
    SETTINGS,
    Setting,
    dataset,
    image,
    plans,
    write_checkpoint,
    write_model,
)

from SFDALib.__main__ import main
from SFDALib.bundle import source
from SFDALib.bundle.assembly import Regions
from SFDALib.bundle.description import Description
from SFDALib.bundle.importers.common import labels as labels_of
from SFDALib.bundle.importers.nnunet import NnUNetModel
from SFDALib.bundle.importers.nnunet_plans import Plans, read_labels, read_plans
from SFDALib.bundle.open_model import open_model
from SFDALib.bundle.source_model import ImportOptions
from SFDALib.errors import RequestError
from SFDALib.inference.predict import predict
from SFDALib.inference.sliding_window import even_starts, gaussian_weights, sliding_window_mean
from SFDALib.jobs.import_model import import_model
from SFDALib.networks.build import build_network
from SFDALib.training.manifest import load_cases, read_manifest
from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.input_spec import InputSpec, Region, Resampling
from SFDALib.volume.intensity import normalise
from SFDALib.volume.normalisation import Normalisation

CPU = torch.device("cpu")
networks = pytest.mark.skipif(
    find_spec("dynamic_network_architectures") is None,
    reason="needs dynamic-network-architectures, nnU-Net's networks",
)
peer = pytest.mark.skipif(find_spec("nnunetv2") is None, reason="needs nnunetv2 to compare with")
PLAIN, MASKED = SETTINGS["3d plain"], SETTINGS["3d residual, masked"]
FLAT, TUMOUR = SETTINGS["2d plain, thick slices"], SETTINGS["3d residual, regions, 4 channels"]


def read(setting: Setting, described: dict[str, Any] | None = None) -> Plans:
    described = described or plans(setting)
    return read_plans(described, dataset(setting), setting.configuration, "model")


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(RequestError) as caught:
        action()
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line


# Plans, as data


def test_the_grid_is_that_of_the_plans() -> None:
    grid = read(SETTINGS["3d CT, thick slices, transposed"]).input_spec
    assert grid.spacing == (1.4, 4.5, 1.4)[::-1]
    assert grid.axes == (1, 0, 2) and grid.orientation is None and grid.crop == "nonzero"
    assert grid.normalisation == Normalisation("fixed", 20.0, 330.0, 180.0, 90.0)
    assert grid.resampling == Resampling(3, False, True, True, "logits")


def test_a_2d_configuration_keeps_the_distance_of_the_slices() -> None:
    grid = read(FLAT).input_spec
    assert grid.is_2d and grid.spacing == (1.5, 1.5, None)


def test_each_channel_is_normalised_by_its_own_scheme() -> None:
    described = plans(TUMOUR)
    parent = described["configurations"]["parent"]
    parent["normalization_schemes"] = [
        *("ZScoreNormalization", "RescaleTo01Normalization"),
        *("RGBTo01Normalization", "NoNormalization"),
    ]
    assert read(TUMOUR, described).input_spec.normalisation == (
        Normalisation("zscore", within="body", channels=(0,)),
        Normalisation("minmax", channels=(1,)),
        Normalisation("fixed", 0.0, 255.0, 0.0, 255.0, channels=(2,)),
        Normalisation("none", channels=(3,)),
    )


@pytest.mark.parametrize("setting", [PLAIN, MASKED, FLAT])
def test_plans_of_earlier_versions_give_the_same_network(setting: Setting) -> None:
    assert read(setting, plans(setting, old=True)).network == {
        **read(setting).network,
        "dropout_arguments": None,
    }


def test_regions_are_painted_in_the_order_of_the_data_set() -> None:
    names, regions = read_labels(dataset(SETTINGS["2d residual, regions"]), "model")
    assert regions == (Region(0, 1), Region(1, 3), Region(2, 2))
    assert names == (
        "whole tumor outside tumor core",
        "enhancing tumor",
        "tumor core outside enhancing tumor",
    )


def test_labels_are_named_by_their_value_and_ignored_ones_left_out() -> None:
    labels = {"lesion": 2, "brain": 1, "background": 0, "ignore": 3}
    assert read_labels({"labels": labels}, "model") == (("brain", "lesion"), ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"previous_stage": "3d_lowres"}, "configuration"),
        ({"preprocessor_name": "Mine"}, 'preprocessor_name "Mine"'),
        ({"normalization_schemes": ["Mine"]}, 'normalization_schemes "Mine"'),
        ({"resampling_fn_data": "resample_torch_simple"}, 'resampling_fn_data "resample_torch'),
        ({"inherits_from": "parent"}, "configuration"),
        ({"architecture.network_class_name": "os.system"}, 'network_class_name "os.system"'),
        ({"architecture.arch_kwargs.nonlin": "os.system"}, 'nonlin "os.system"'),
        ({"architecture.arch_kwargs.norm_op": "torch.nn.GroupNorm"}, 'norm_op "torch.nn.GroupNorm'),
        ({"architecture.arch_kwargs.squeeze_excitation": True}, 'arch_kwargs "squeeze_excitation"'),
        ({"resampling_fn_probabilities_kwargs.order": 3}, "resampling order of probabilities"),
        ({"patch_size": None}, "plans that cannot be read"),
    ],
)
def test_what_is_not_taken_over_is_named(change: dict[str, Any], words: str) -> None:
    described = plans(PLAIN)
    for path, value in change.items():
        *folders, last = path.split(".")
        place = described["configurations"]["parent"]
        for folder in folders:
            place = place[folder]
        place[last] = value
    assert words in refusal(lambda: read(PLAIN, described))


def test_labels_with_gaps_are_refused() -> None:
    labels = {"background": 0, "a": 1, "b": 3}
    assert 'labels "[1, 3]"' in refusal(lambda: read_labels({"labels": labels}, "model"))


def test_an_image_reader_that_turns_images_gives_an_orientation() -> None:
    described = plans(PLAIN) | {"image_reader_writer": "NibabelIOWithReorient"}
    assert read(PLAIN, described).input_spec.orientation == "RAS"
    described["image_reader_writer"] = "Tiff3DIO"
    assert 'image_reader_writer "Tiff3DIO"' in refusal(lambda: read(PLAIN, described))


# What the grid does


def test_normalisation_within_the_body_leaves_what_is_around_it() -> None:
    array = np.zeros((2, 1, 5, 5), np.float32)
    array[0, 0, 1:4, 1:4] = [[1, 2, 3], [4, 0, 6], [7, 8, 9]]  # the hole belongs to the body
    array[1, 0, 1:4, 1:4] = 5
    scaled = normalise(array, Normalisation("zscore", within="body", channels=(0,)))
    body = np.array([1, 2, 3, 4, 0, 6, 7, 8, 9])
    expected = (body - body.mean()) / body.std()
    np.testing.assert_allclose(scaled[0, 0, 1:4, 1:4].ravel(), expected, rtol=1e-5)
    assert scaled[0, 0, 0].tolist() == [0] * 5
    assert (scaled[1] == array[1]).all()


def test_a_cropped_image_comes_back_to_its_place() -> None:
    array = np.zeros((1, 6, 8, 10))
    array[0, 2:5, 1:6, 3:9] = 7
    array[0, 3, 3, 5] = 9
    geometry = Geometry((10, 8, 6), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0))
    grid = InputSpec(
        *(1, None, (None,) * 3, Normalisation("none"), False),
        axes=(1, 0, 2),
        crop="nonzero",
    )
    conformed = conform(Volume(array, geometry), grid)
    assert conformed.array.shape == (1, 5, 3, 6)
    peak = np.argwhere(conformed.array[0] == 9)[0]
    np.testing.assert_allclose(
        conformed.geometry.to_lps(peak[::-1]), geometry.to_lps(np.array([5, 3, 3]))
    )
    p = torch.from_numpy((conformed.array[0] == 9).astype(np.float32))
    labels = conformed.restore_labels(torch.stack([1 - p, p]))
    assert np.argwhere(labels).tolist() == [[3, 3, 5]]
    assert torch.equal(conformed.restore(p[None])[0] > 0, torch.from_numpy(array[0] == 9))


def test_thick_slices_are_resampled_by_themselves_to_the_nearest() -> None:
    array = np.random.default_rng(0).normal(size=(1, 4, 10, 10))
    geometry = Geometry((10, 10, 4), (1.0, 1.0, 5.0))
    resampling = Resampling(order=3, smooth=False, separate_z=True)
    grid = InputSpec(1, None, (1.0, 1.0, 2.5), Normalisation("none"), False, resampling=resampling)
    result = conform(Volume(array, geometry), grid).array
    np.testing.assert_allclose(result, array.repeat(2, axis=1), rtol=1e-6)


# Windows


def test_windows_are_as_far_from_each_other_as_nnunets() -> None:
    """Its own example: 110 voxels, windows of 64, at least half overlapping."""
    assert even_starts((110, 64), (64, 64), 0.5) == [[0, 23, 46], [0]]
    assert even_starts((200,), (64,), 0.5) == [[0, 27, 54, 82, 109, 136]]


def test_window_weights_fall_like_a_gaussian_of_an_eighth_of_the_side() -> None:
    weight = gaussian_weights((16, 8), CPU)
    assert weight.argmax() == 8 * 8 + 4 and weight.max() == 1
    assert weight[10, 5].item() == pytest.approx(np.exp(-0.5 * (1.0**2 + 1.0**2)))


def test_blending_leaves_what_all_windows_agree_on_and_zeros_around_small_images() -> None:
    images = torch.rand(2, 3, 9, 30)
    seen = []

    def same(patches: torch.Tensor) -> torch.Tensor:
        seen.append(patches)
        return patches[:, :2]

    result = sliding_window_mean(images, (16, 16), 3, same, 0.5)
    torch.testing.assert_close(result, images[:, :2], rtol=0, atol=1e-5)
    assert all(part.shape[2:] == (16, 16) and len(part) <= 3 for part in seen)
    assert seen[0][:, :, :3].abs().max() == 0  # 7 rows lack: 3 above, 4 below


# Regions


def test_class_probabilities_of_regions_are_those_of_painting_one_over_another() -> None:
    p = torch.tensor([0.9, 0.6, 0.2])
    regions = (Region(0, 1), Region(1, 3), Region(2, 2))
    logits = Regions(torch.nn.Identity(), regions)(p.logit().reshape(1, 3, 1))
    expected = [0.1 * 0.4 * 0.8, 0.9 * 0.4 * 0.8, 0.2, 0.6 * 0.8]
    assert logits.exp().flatten().tolist() == pytest.approx(expected, rel=1e-5)


def test_labels_of_regions_are_painted_as_nnunet_does() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(3, 6, 7, 8)).astype(np.float32))
    regions = (Region(0, 1), Region(1, 3), Region(2, 2))
    geometry = Geometry((8, 7, 6), (1.0, 1.0, 1.0))
    grid = InputSpec(1, None, (None,) * 3, Normalisation("none"), False, regions=regions)
    conformed = conform(Volume(rng.normal(size=(1, 6, 7, 8)), geometry), grid)
    q = Regions(torch.nn.Identity(), regions)(logits[None])[0].exp()
    painted = np.zeros((6, 7, 8), np.uint8)
    for channel, label in enumerate((1, 3, 2)):
        painted[logits[channel].numpy() > 0] = label
    assert (conformed.restore_labels(q) == painted).all()


# Models


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "trainer__plans__2d", FLAT, folds=(0, 1))


@networks
@pytest.mark.parametrize("name", SETTINGS)
def test_every_kind_of_model_becomes_a_bundle_that_segments(tmp_path: Path, name: str) -> None:
    setting = SETTINGS[name]
    import_model(write_model(tmp_path / "model", setting), tmp_path / "bundle")
    loaded = open_model(tmp_path / "bundle").load(CPU)
    volume, _ = image(setting)
    conformed = conform(volume, loaded.description.input_spec)
    p = predict(loaded, conformed.array, {"overlap": 0.5, "mirror": False})
    assert p.shape == (loaded.description.classes, *conformed.array.shape[1:])
    torch.testing.assert_close(p.sum(0), torch.ones(p.shape[1:]), rtol=0, atol=1e-5)
    labels = conformed.restore_labels(p)
    assert labels.shape == setting.image_size and len(np.unique(labels)) > 1


@networks
def test_folds_are_averaged_as_logits(model: Path, tmp_path: Path) -> None:
    for folds in ("all", "0", "1"):
        import_model(model, tmp_path / folds, ImportOptions(folds=folds))
    both, first, second = (open_model(tmp_path / folds).load(CPU) for folds in ("all", "0", "1"))
    assert both.description.ensemble == 2
    x = torch.rand(1, 1, 24, 32)
    torch.testing.assert_close(both.network(x), (first.network(x) + second.network(x)) / 2)


@networks
def test_a_model_may_be_mirrored_along_the_axes_of_its_training_alone(tmp_path: Path) -> None:
    setting = SETTINGS["3d CT, thick slices, transposed"]
    import_model(
        write_model(tmp_path / "model", setting), tmp_path / "bundle", ImportOptions(folds="0")
    )
    loaded = open_model(tmp_path / "bundle").load(CPU)
    calls = []
    loaded.network.register_forward_hook(lambda *call: calls.append(call[1][0].device.type))
    image = np.random.default_rng(0).normal(size=(1, 24, 12, 24)).astype(np.float32)
    predict(loaded, image, {"overlap": 0.5, "mirror": True})
    assert loaded.description.mirror_axes == (0, 2)
    assert calls.count("cpu") == 4  # beside one on the meta device, which counts memory


@networks
def test_the_best_checkpoint_is_taken_where_there_is_no_final_one(model: Path) -> None:
    for fold in (0, 1):
        (model / f"fold_{fold}/checkpoint_final.pth").rename(
            model / f"fold_{fold}/checkpoint_best.pth"
        )
    checkpoints = NnUNetModel(model).load(CPU).description.provenance["import"]["checkpoints"]
    assert checkpoints == ["fold_0/checkpoint_best.pth", "fold_1/checkpoint_best.pth"]


@networks
def test_the_configuration_chooses_among_the_models_of_a_data_set(
    model: Path, tmp_path: Path
) -> None:
    write_model(tmp_path / "trainer__plans__3d_fullres", PLAIN)
    assert NnUNetModel(tmp_path, "2d").load(CPU).description.spatial_dims == 2
    assert NnUNetModel(tmp_path, "3d_fullres").load(CPU).description.spatial_dims == 3
    assert "trainer__plans__3d_fullres" in refusal(lambda: NnUNetModel(tmp_path).load(CPU))
    assert "of the configuration 2d" in refusal(lambda: NnUNetModel(model, "3d_fullres").load(CPU))


@networks
def test_a_fold_that_is_not_there_is_refused(model: Path) -> None:
    assert "found fold_0, fold_1, expected fold_3" in refusal(
        lambda: NnUNetModel(model, folds="3").load(CPU)
    )


@networks
def test_a_trainer_that_nnunet_does_not_have_is_refused(model: Path, tmp_path: Path) -> None:
    file = model / "fold_0/checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    file.unlink()
    file.parent.rmdir()
    write_checkpoint(file, FLAT, content["network_weights"], trainer="MyTrainer")
    assert 'the trainer "MyTrainer"' in refusal(lambda: NnUNetModel(model).load(CPU))


@networks
def test_a_checkpoint_with_code_is_refused_and_does_not_run(model: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    file = model / "fold_0/checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    torch.save({**content, "logging": Evil()}, file)
    assert "nothing in it was executed" in refusal(lambda: NnUNetModel(model).load(CPU))
    assert not (tmp_path / "ran").exists()


@networks
def test_weights_of_another_network_are_refused(model: Path) -> None:
    described = json.loads((model / "plans.json").read_text())
    architecture = described["configurations"]["parent"]["architecture"]
    architecture["arch_kwargs"]["features_per_stage"] = [4, 8, 16]
    (model / "plans.json").write_text(json.dumps(described))
    line = refusal(lambda: NnUNetModel(model).load(CPU))
    assert "fold_0/checkpoint_final.pth" in line and "expected" in line


@networks
def test_the_command_line_imports_runs_adapts_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Early features, too: nnU-Net's first stage is what they adapt."""
    setting = SETTINGS["2d residual, regions"]
    folder = write_model(tmp_path / "model", setting, steps=20)
    volume, labels = image(setting)
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "image.nrrd"))
    reference = Volume(labels[None], volume.geometry).to_sitk()
    sitk.WriteImage(reference, str(tmp_path / "labels.nrrd"))
    (tmp_path / "cases.csv").write_text("image,label,split\nimage.nrrd,labels.nrrd,train\n")
    bundle, headed = tmp_path / "bundle", tmp_path / "headed"
    assert main(["import-model", str(folder), "--output", str(bundle), "--fold", "0"]) == 0
    assert "overlapping regions" in capsys.readouterr().out
    common = ["--manifest", str(tmp_path / "cases.csv"), "--output", str(headed), "--steps", "2"]
    words = ["--bundle", str(bundle), "--batch", "2", "--device", "cpu"]
    assert main(["train", "early-head", *common, *words]) == 0
    for method in ("none", "adami", "early-features"):
        options = [] if method == "none" else ["--option", "epochs=1"]
        options += ["--option", "prior=0.1,0.05,0.02"] if method == "adami" else []
        words = ["--input", str(tmp_path / "image.nrrd"), "--method", method, *options]
        output = ["--output", str(tmp_path / method), "--device", "cpu"]
        assert main(["run", "--bundle", str(headed), *words, *output]) == 0, method
    adapted = open_model(tmp_path / "adami/adapted_bundle").describe()
    assert adapted.input_spec == open_model(bundle).describe().input_spec


@networks
def test_an_ensemble_has_no_early_features(model: Path, tmp_path: Path) -> None:
    import_model(model, tmp_path / "bundle")
    loaded = open_model(tmp_path / "bundle").load(CPU)
    assert "import the model again with --fold 0" in refusal(
        lambda: loaded.early_stages(loaded.network, 0)
    )


def test_a_model_with_regions_can_be_trained_here(tmp_path: Path) -> None:
    geometry = Geometry((16, 16, 4), (1.0, 1.0, 1.0))
    picture = np.random.default_rng(0).normal(size=(1, 4, 16, 16))
    labels = np.zeros((1, 4, 16, 16), np.uint8)
    labels[:, :, 4:12, 4:12], labels[:, :, 6:10, 6:10] = 1, 2
    sitk.WriteImage(Volume(picture, geometry).to_sitk(), str(tmp_path / "image.nrrd"))
    sitk.WriteImage(Volume(labels, geometry).to_sitk(), str(tmp_path / "labels.nrrd"))
    (tmp_path / "cases.csv").write_text("image,label,split\nimage.nrrd,labels.nrrd,train\n")
    config = {
        "name": "Nested",
        "modality": "noise",
        "network": {
            "_target_": "SFDALib.networks.residual_unet.ResidualUNet",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 2,
            "features": 4,
        },
        "labels": [
            {"value": value, "name": name, "color": [value, 0, 0]}
            for value, name in ((1, "rim"), (2, "core"))
        ],
        "orientation": None,
        "spacing": [None, None, None],
        "normalisation": {"kind": "zscore"},
        "patch_size": [16, 16],
        "regions": [{"channel": 0, "label": 1}, {"channel": 1, "label": 2}],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = ["--manifest", str(tmp_path / "cases.csv"), "--config", str(tmp_path / "config.json")]
    words += ["--output", str(tmp_path / "bundle"), "--steps", "2", "--batch", "2"]
    assert main(["train", "segmentation", *words, "--device", "cpu"]) == 0
    trained = open_model(tmp_path / "bundle").load(CPU)
    assert isinstance(trained.network, Regions) and trained.description.classes == 3


@pytest.mark.slow
@peer
@networks
@pytest.mark.parametrize("name", SETTINGS)
def test_an_imported_model_says_what_nnunet_says(tmp_path: Path, name: str) -> None:
    """Exactly where nnU-Net sums in single precision; it sums in half precision."""
    from Benchmarks.nnunet_agreement import measure

    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(variable, str(tmp_path))
    row = measure(tmp_path, SETTINGS[name], steps=0, repeats=1)
    assert row["agree f32"] >= 0.9999
    assert row["p max f32"] <= 1e-4
    assert row["agree"] >= 0.99


# Its raw folder, as training cases


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two cases of two channels; labels 0, 1, 2 and 4, as BraTS has them."""
    folder = tmp_path / "Dataset900_Phantom"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    described = {"channel_names": {"0": "T1", "1": "T2"}, "file_ending": ".nrrd"}
    (folder / "dataset.json").write_text(json.dumps(described))
    rng = np.random.default_rng(0)
    for case in ("a", "b"):
        for channel in range(2):
            picture = sitk.GetImageFromArray(rng.normal(size=(4, 4, 4)))
            sitk.WriteImage(picture, str(folder / f"imagesTr/{case}_000{channel}.nrrd"))
        labels = np.resize(np.array([0, 1, 2, 4], np.uint8), (4, 4, 4))
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / f"labelsTr/{case}.nrrd"))
    return folder


def test_a_raw_folder_is_a_manifest_whose_labels_may_mean_others(raw: Path, tmp_path: Path) -> None:
    """BraTS: 1 necrosis, 2 edema, 4 enhancing; nnU-Net's conversion: 1 edema, 2 necrosis, 3."""
    entries = read_manifest(raw, "1=2,2=1,4=3")
    assert [[image.name for image in entry.images] for entry in entries] == [
        ["a_0000.nrrd", "a_0001.nrrd"],
        ["b_0000.nrrd", "b_0001.nrrd"],
    ]
    grid = InputSpec(2, None, (None,) * 3, Normalisation("none"), is_2d=False)
    (first, _) = load_cases(entries, "train", grid, 4, tmp_path / "cache")
    assert first.labels[0, 0].tolist() == [0, 2, 1, 3]
    plain = read_manifest(raw)
    assert "found label 4" in refusal(lambda: load_cases(plain, "train", grid, 4, tmp_path / "c"))


@pytest.mark.parametrize("words", ["1", "1=2=3", "a=b", "1=300"])
def test_labels_that_mean_nothing_are_refused(raw: Path, words: str) -> None:
    assert "--relabel" in refusal(lambda: read_manifest(raw, words))


def test_a_raw_folder_with_a_channel_missing_is_refused(raw: Path) -> None:
    (raw / "imagesTr/b_0001.nrrd").unlink()
    assert "b_0001.nrrd" in refusal(lambda: read_manifest(raw))


# What people choose in place of a model's folder, and trainers of their own


def test_a_trainer_can_be_trusted_and_every_result_says_so(tmp_path: Path) -> None:
    """``inspect`` says of it what a run would."""
    folder = write_model(tmp_path / "Mine__nnUNetPlans__2d", FLAT)
    file = folder / "fold_0/checkpoint_final.pth"
    weights = torch.load(file, weights_only=False)["network_weights"]
    file.unlink(), file.parent.rmdir()
    write_checkpoint(file, FLAT, weights, trainer="nnUNetTrainerMine")
    assert main(["inspect", str(folder)]) == 2
    assert "import-model --trust-trainer" in refusal(lambda: NnUNetModel(folder).load(CPU))
    words = ["import-model", str(folder), "--output", str(tmp_path / "bundle"), "--trust-trainer"]
    assert main(words) == 0
    (caution,) = open_model(tmp_path / "bundle").describe().cautions
    assert "nnUNetTrainerMine" in caution


def test_a_folds_own_folder_is_named_with_the_models(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "nnUNetTrainer__nnUNetPlans__2d", FLAT)
    line = refusal(lambda: open_model(folder / "fold_0"))
    assert "found one fold" in line and str(folder) in line and "--fold 0" in line


def test_a_model_of_nnunet_v1_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "nnUNetTrainerV2__nnUNetPlansv2.1"
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.pkl").write_bytes(b"\x80\x03.")
    for path in (folder, folder / "fold_0", tmp_path):
        assert "found a model of nnU-Net v1" in refusal(lambda path=path: open_model(path))


def test_an_exported_zip_is_named_with_the_folder_in_it(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "Dataset900_Phantom/nnUNetTrainer__nnUNetPlans__2d", FLAT)
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path).as_posix())
    line = refusal(lambda: open_model(tmp_path / "model.zip"))
    assert "unpack it and choose Dataset900_Phantom/nnUNetTrainer__nnUNetPlans__2d" in line


def test_pictures_keep_their_pixels_whatever_resolution_their_file_states() -> None:
    """In nnU-Net a picture's pixels have the size 1; a file's DPI are no millimetres."""
    described = plans(FLAT)
    described["image_reader_writer"] = "NaturalImage2DIO"
    described["configurations"]["parent"]["spacing"] = [1.0, 1.0]
    grid = read(FLAT, described).input_spec
    assert grid.spacing == (None, None, None)
    picture = Volume(np.ones((1, 1, 40, 50), np.float32), Geometry((50, 40, 1), (0.085, 0.085, 1)))
    assert conform(picture, grid).array.shape == (1, 1, 40, 50)
    described["configurations"]["parent"]["spacing"] = [0.5, 1.0]
    assert "spacing of pictures" in refusal(lambda: read(FLAT, described))


def test_a_crop_to_one_slice_is_segmented_as_nnunet_pads_it() -> None:
    """The images's only slice that is not empty goes through the network with zeros around."""
    described = read(PLAIN)
    torch.manual_seed(0)
    network = build_network(described.network)
    array = np.zeros((1, 9, 24, 20), np.float32)
    array[0, 4] = np.random.default_rng(0).normal(100, 30, (24, 20))
    spacing = described.input_spec.spacing
    conformed = conform(Volume(array, Geometry((20, 24, 9), spacing)), described.input_spec)
    assert conformed.array.shape == (1, 1, 24, 20)
    grid, labels = described.input_spec, labels_of(("brain", "lesion"))
    about = Description("x", "MR", described.network, grid, (16, 24, 16), labels, "even")
    model = source.Source(about, network.eval(), None, None, CPU, {})
    p = predict(model, conformed.array, {"overlap": 0.5, "mirror": False})
    padded = torch.zeros(1, 1, 16, 24, 20)
    padded[0, :, 7] = torch.from_numpy(conformed.array[:, 0])
    with torch.no_grad():  # two windows along the last axis
        first, second = (torch.softmax(network(padded[..., s : s + 16]), 1) for s in (0, 4))
    torch.testing.assert_close(p[:, 0, :, 0], first[0, :, 7, :, 0], rtol=0, atol=1e-3)
    torch.testing.assert_close(p[:, 0, :, -1], second[0, :, 7, :, -1], rtol=0, atol=1e-3)
    assert conformed.restore_labels(p)[[0, 1, 2, 3, 5, 6, 7, 8]].max() == 0


def test_the_foreground_of_the_plans_is_the_models_fingerprint() -> None:
    (found,) = read(PLAIN).fingerprint
    assert (found.low, found.high, found.mean, found.std) == (20.0, 330.0, 180.0, 90.0)
