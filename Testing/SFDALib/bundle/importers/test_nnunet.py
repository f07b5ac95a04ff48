"""Models of nnU-Net become bundles that segment as nnU-Net does, or are refused."""

from __future__ import annotations

import json
import os
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunet_models import (
    SETTINGS,
    image,
    write_checkpoint,
    write_model,
)
from refusals import refusal

from SFDALib.__main__ import main
from SFDALib.bundle.assembly import Regions
from SFDALib.bundle.importers.nnunet import NnUNetModel
from SFDALib.bundle.open_model import open_model
from SFDALib.bundle.source_model import ImportOptions
from SFDALib.inference.predict import predict
from SFDALib.jobs.import_model import import_model
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Geometry, Volume

CPU = torch.device("cpu")
networks = pytest.mark.skipif(
    find_spec("dynamic_network_architectures") is None,
    reason="needs dynamic-network-architectures, nnU-Net's networks",
)
peer = pytest.mark.skipif(find_spec("nnunetv2") is None, reason="needs nnunetv2 to compare with")
PLAIN, MASKED = SETTINGS["3d plain"], SETTINGS["3d residual, masked"]
FLAT, TUMOUR = SETTINGS["2d plain, thick slices"], SETTINGS["3d residual, regions, 4 channels"]


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
    p = predict(loaded, conformed.array, InferenceOptions())
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
    predict(loaded, image, InferenceOptions(mirror=True))
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
