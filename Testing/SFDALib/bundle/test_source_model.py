"""A model from elsewhere is used as it lies there: the same result as of the bundle made of it."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai_models import SPLEEN, write_published
from nnunet_models import SETTINGS, image, plans, write_model
from paths import ROOT
from refusals import refusal

from SFDALib.__main__ import main
from SFDALib.bundle.open_model import open_model
from SFDALib.jobs.inspect import inspect
from SFDALib.volume.image_file import read_labels

pytest.importorskip("dynamic_network_architectures", reason="nnU-Net's networks")
FLAT = replace(SETTINGS["2d plain, thick slices"], image_size=(6, 30, 28))
NAME = "nnUNetTrainer__nnUNetPlans__2d"
HEAVY = {"torch", "monai", "numpy", "SimpleITK"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of both kinds and an image for them. Read only."""
    folder = tmp_path_factory.mktemp("elsewhere")
    write_model(folder / "Dataset900_Phantom" / NAME, FLAT, folds=(0, 1))
    spleen = write_published(folder / "spleen", "spleen")
    with zipfile.ZipFile(folder / "spleen.zip", "w") as archive:
        for file in spleen.rglob("*.*"):
            archive.write(file, f"spleen/{file.relative_to(spleen)}")
    volume, _ = image(FLAT)
    sitk.WriteImage(volume.to_sitk(), str(folder / "image.nrrd"))
    return folder


MODELS = (f"Dataset900_Phantom/{NAME}", "Dataset900_Phantom", "spleen", "spleen.zip")


def words(model: Path, folder: Path, output: Path, command: str = "run") -> list[str]:
    files = ["--bundle", model, "--input", folder / "image.nrrd", "--output", output]
    return [command, *map(str, files), "--device", "cpu"]


def report_of(output: Path) -> dict[str, Any]:
    return json.loads((output / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("model", MODELS)
def test_a_run_with_the_model_is_a_run_with_the_bundle_made_of_it(
    folder: Path, tmp_path: Path, model: str
) -> None:
    assert main(["import-model", str(folder / model), "--output", str(tmp_path / "bundle")]) == 0
    for bundle, output in ((tmp_path / "bundle", "ours"), (folder / model, "theirs")):
        assert main([*words(bundle, folder, tmp_path / output), "--method", "none"]) == 0
    ours, theirs = (
        read_labels(tmp_path / output / "segmentation.seg.nrrd").array
        for output in ("ours", "theirs")
    )
    assert np.array_equal(ours, theirs) and len(np.unique(theirs)) > 1
    told = report_of(tmp_path / "theirs")["bundle"]
    assert told["folder"] == Path(model).name
    assert told["imported"] == report_of(tmp_path / "ours")["bundle"]["imported"]
    assert told["imported"]["from"] in ("nnU-Net v2", "MONAI bundle")


@pytest.mark.parametrize("model", ["Dataset900_Phantom", "spleen"])
def test_every_command_takes_the_model(folder: Path, tmp_path: Path, model: str) -> None:
    many = words(folder / model, folder, tmp_path / "many", "cohort")
    options = ["--option", "epochs=1", "--option", "batch=2"]
    assert main([*many, "--method", "self-training", *options]) == 0
    adapted = tmp_path / "many/image/adapted_bundle"
    assert main([*words(adapted, folder, tmp_path / "again"), "--method", "none"]) == 0
    assert report_of(tmp_path / "again")["bundle"]["imported"]["from"] != "SFDALib"
    several = words(folder / model, folder, tmp_path / "several", "compare")
    options = ["--option", "self-training.epochs=1", "--option", "self-training.batch=2"]
    assert main([*several, "--methods", "self-training", *options]) == 0
    size = ["--size", "28,30,6", "--spacing", "1.2,1.3,6"]
    estimate = ["estimate", "--bundle", str(folder / model), "--method", "none", *size]
    assert main([*estimate, "--device", "cpu"]) == 0


@pytest.mark.parametrize("model", MODELS)
def test_the_model_is_inspected_with_the_standard_library_alone(folder: Path, model: str) -> None:
    code = (
        "import sys; from pathlib import Path; from SFDALib.jobs.inspect import inspect, in_words;"
        f"print(in_words(inspect(Path({str(folder / model)!r})))); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    *lines, loaded = done.stdout.splitlines()
    assert not HEAVY & set(loaded.split())
    assert any(line.endswith(("nnU-Net v2", "MONAI bundle")) for line in lines)


def test_what_is_inspected_is_what_is_read(folder: Path) -> None:
    """But for the axes of mirroring and the trainer, which only nnU-Net's checkpoints know."""
    for model in MODELS:
        opened = open_model(folder / model)
        told, read = opened.describe(), opened.load(torch.device("cpu")).description
        assert replace(told, mirror_axes=read.mirror_axes, provenance={}) == (
            replace(read, provenance={})
        )
        assert told.provenance["import"].items() <= read.provenance["import"].items()


def test_a_checksum_is_of_everything_that_decides_the_result(folder: Path, tmp_path: Path) -> None:
    for model, files in (
        ("spleen", ("configs/metadata.json", "configs/inference.json", "models/model.pt")),
        (f"Dataset900_Phantom/{NAME}", ("plans.json", "fold_1/checkpoint_final.pth")),
    ):
        copied = shutil.copytree(folder / model, tmp_path / Path(model).name)
        seen = {open_model(folder / model).sha256(), open_model(copied).sha256()}
        assert len(seen) == 1
        for file in files:
            (copied / file).write_bytes((copied / file).read_bytes() + b" ")
            seen.add(open_model(copied).sha256())
        assert len(seen) == 1 + len(files)


# What cannot be used says so


def test_a_folder_that_nnunet_did_not_name_does_not_tell_its_configuration(tmp_path: Path) -> None:
    model = write_model(tmp_path / "mine", FLAT)
    line = refusal(lambda: inspect(model))
    assert "rename it as nnU-Net named it, or use SFDALib import-model" in line
    assert main(["import-model", str(model), "--output", str(tmp_path / "bundle")]) == 0


def test_a_folder_named_after_another_configuration_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "trainer__plans__3d_fullres", FLAT)
    line = refusal(lambda: open_model(model).load(torch.device("cpu")))
    assert "checkpoints of the configuration 2d, expected 3d_fullres" in line


def test_a_data_set_with_several_models_is_refused_with_their_names(tmp_path: Path) -> None:
    write_model(tmp_path / NAME, FLAT)
    write_model(tmp_path / "trainer__plans__3d_fullres", SETTINGS["3d plain"])
    line = refusal(lambda: inspect(tmp_path))
    assert NAME in line and "choose its folder" in line


def test_a_fold_without_a_checkpoint_is_told_by_inspect(tmp_path: Path) -> None:
    model = write_model(tmp_path / NAME, FLAT)
    (model / "fold_0/checkpoint_final.pth").unlink()
    assert "found no checkpoint_final.pth" in refusal(lambda: inspect(model))


def test_a_published_bundle_without_weights_is_told_by_inspect(tmp_path: Path) -> None:
    model = write_published(tmp_path / "spleen", "spleen")
    (model / "models/model.pt").unlink()
    assert "found no models/model.pt" in refusal(lambda: inspect(model))


def test_a_cascade_is_refused_in_a_line_and_its_first_stage_is_not(tmp_path: Path) -> None:
    described = plans(SETTINGS["3d plain"])
    low = copy.deepcopy(described["configurations"]["3d_fullres"])
    described["configurations"] |= {
        "3d_lowres": low | {"next_stage": "3d_cascade_fullres"},
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    }
    for name in ("3d_lowres", "3d_cascade_fullres"):
        model = write_model(tmp_path / f"trainer__plans__{name}", SETTINGS["3d plain"])
        (model / "plans.json").write_text(json.dumps(described))
    assert inspect(tmp_path / "trainer__plans__3d_lowres")["name"].endswith("nnU-Net 3d_lowres")
    line = refusal(lambda: inspect(tmp_path / "trainer__plans__3d_cascade_fullres"))
    assert "3d_cascade_fullres" in line and "without a previous stage" in line


def test_weights_alone_are_told_to_want_a_description(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "weights.pth")
    line = refusal(lambda: inspect(tmp_path / "weights.pth"))
    assert "--template" in line and "--describe" in line


def test_links_out_of_a_published_bundle_are_not_followed(tmp_path: Path) -> None:
    model = write_published(tmp_path / "spleen", "spleen")
    (model / "configs/inference.json").rename(tmp_path / "elsewhere.json")
    (model / "configs/inference.json").symlink_to(tmp_path / "elsewhere.json")
    assert "a link to a file outside" in refusal(lambda: inspect(model))


def test_a_bundle_of_ours_needs_no_import(tiny_bundle: Path, tmp_path: Path, caplog: Any) -> None:
    assert main(["import-model", str(tiny_bundle), "--output", str(tmp_path / "out")]) == 2
    assert "needs no import" in caplog.messages[-1]


def test_an_expression_in_a_published_bundle_is_refused_before_anything_runs(
    tmp_path: Path,
) -> None:
    config = {**SPLEEN, "pixdim": "$__import__('os').mkdir('ran')"}
    model = write_published(tmp_path / "spleen", "spleen", config)
    assert "the expression" in refusal(lambda: inspect(model))
