"""Sizes measured on label maps alone, and what a run with an imported model has of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from bundles import describe
from nnunet_models import SETTINGS, image, write_model
from refusals import refusal

from SFDALib.__main__ import main
from SFDALib.bundle.bundle_files import METADATA
from SFDALib.bundle.description import Description, Label
from SFDALib.bundle.open_model import open_model
from SFDALib.progress import silent
from SFDALib.training.label_maps import LabelFolder, with_sizes
from SFDALib.volume.geometry import Geometry, Volume

# I runs along S, J along L, K along P: a sagittal volume
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0)


def model(spatial_dims: int) -> Description:
    """An LPS model of Brain and Lesion without sizes."""
    described = describe(spatial_dims, classes=3)
    bare = tuple(Label(label.value, label.name, label.color) for label in described.labels)
    return replace(described, labels=bare)


def write(path: Path, labels: np.ndarray, spacing: tuple[float, float, float]) -> None:
    """A sagittal label map; ``labels`` and ``spacing`` along P, L, S."""
    geometry = Geometry(labels.shape[::-1], spacing[::-1], (5.0, -30.0, 8.0), SAGITTAL)
    path.parent.mkdir(exist_ok=True)
    sitk.WriteImage(Volume(labels[None], geometry).to_sitk(), str(path))


def block(shape: tuple[int, int, int], value: int = 1) -> np.ndarray:
    """A block of so many voxels along P, L, S within 10 x 9 x 8."""
    labels = np.zeros((10, 9, 8), np.uint8)
    labels[2 : 2 + shape[0], 3 : 3 + shape[1], 1 : 1 + shape[2]] = value
    return labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two label maps with voxels of 1 x 2 x 5 mm along P, L, S: 240 mm3 and, of twice the extent
    along S, 480 mm3 of the brain.
    """
    write(tmp_path / "labels/patient_miller.nii.gz", block((4, 3, 2)), (1.0, 2.0, 5.0))
    write(tmp_path / "labels/patient_smith.seg.nrrd", block((4, 3, 4)), (1.0, 2.0, 5.0))
    return tmp_path / "labels"


def sized(
    description: Description, folder: Path, relabel: tuple[tuple[int, int], ...] = ()
) -> tuple[Description, tuple[str, ...]]:
    return with_sizes(description, LabelFolder(folder, relabel), silent)


def test_sizes_are_those_of_the_label_maps_in_the_models_orientation(folder: Path) -> None:
    described, _ = sized(model(2), folder)
    brain = described.labels[0]
    assert brain.size_ml == (0.18, 0.6)  # 25 % around 0.24 and 0.48 ml
    assert brain.mean_ml == 0.36
    assert brain.slice_area_mm2 == 24.0  # an axial slice: 4 x 1 mm by 3 x 2 mm
    assert brain.piece_ml == 0.18
    # the centres of the outermost voxels of the longer block: 1.5, 2 and 7.5 mm from its own
    assert brain.radius_mm == pytest.approx(1.25 * np.sqrt(1.5**2 + 2**2 + 7.5**2), abs=1e-3)


def test_a_3d_model_gets_volumes_and_no_areas(folder: Path) -> None:
    described, _ = sized(model(3), folder)
    assert described.labels[0].size_ml == (0.18, 0.6)
    assert described.labels[0].slice_area_mm2 is None


def test_values_of_the_files_are_renamed(folder: Path) -> None:
    labels = block((4, 3, 2), 7)
    labels[block((1, 1, 1)) > 0] = 9
    write(folder / "more.mha", labels, (1.0, 2.0, 5.0))
    line = refusal(lambda: sized(model(3), folder))
    assert "more.mha: found the label 9, expected 0 and those of the model (1 Brain, 2 Les" in line
    described, _ = sized(model(3), folder, ((1, 2), (7, 1), (9, 0)))
    brain, lesion = described.labels
    assert brain.mean_ml == 0.23  # 24 voxels of 10 mm3 without the one that is ignored
    assert lesion.mean_ml == 0.36


def test_what_few_label_maps_show_or_none_is_told_and_is_no_error(folder: Path) -> None:
    known = replace(model(3).labels[1], size_ml=(1.0, 2.0), mean_ml=1.5)
    described, notes = sized(replace(model(3), labels=(model(3).labels[0], known)), folder)
    assert described.labels[1] == known
    assert notes == (
        "No label map shows Lesion: no size of it was measured.",
        "Few label maps (Brain 2) give narrow ranges: 10 or more of each structure are advisable.",
    )
    for number in range(8):
        write(folder / f"{number}.nrrd", block((4, 3, 2)), (1.0, 2.0, 5.0))
    assert len(sized(model(3), folder)[1]) == 1


def test_sizes_that_the_model_had_are_replaced(folder: Path) -> None:
    described, _ = sized(describe(3, classes=3), folder)
    assert described.labels[0].size_ml == (0.18, 0.6)


def test_single_slices_give_areas_alone(folder: Path, tmp_path: Path) -> None:
    pixels = np.zeros((20, 30), np.uint8)
    pixels[4:8, 5:10] = 1  # 20 mm2, as pixels of a picture count as 1 mm wide
    (tmp_path / "frames").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(tmp_path / "frames/a.png"))
    described, notes = sized(model(2), tmp_path / "frames")
    assert described.labels[0].slice_area_mm2 == 20.0
    assert described.labels[0].size_ml is described.labels[0].mean_ml is None
    assert notes[0].startswith("1 of 1 label maps are single slices, which give areas")
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(folder / "a.png"))
    described, _ = sized(model(2), folder)
    assert described.labels[0].size_ml == (0.18, 0.6)
    assert described.labels[0].slice_area_mm2 == pytest.approx((6 * 24 + 20) / 7, abs=0.01)
    line = refusal(lambda: sized(model(3), tmp_path / "frames"))
    assert "found no structure of the model (1 Brain, 2 Lesion) in 1 label map(s)" in line
    assert "expected volumes that show one" in line


def test_a_structure_on_one_slice_of_a_volume_has_a_volume(tmp_path: Path) -> None:
    write(tmp_path / "labels/thin.nrrd", block((4, 3, 1)), (1.0, 2.0, 5.0))
    assert sized(model(2), tmp_path / "labels")[0].labels[0].mean_ml == 0.12


def test_a_folder_without_usable_label_maps_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    assert "labels: found no folder" in refusal(lambda: sized(model(3), folder))
    folder.mkdir()
    (folder / "dataset.json").write_text("{}")
    (folder / "._a.nii.gz").write_bytes(b"what macOS leaves")
    assert "found no file of a label map" in refusal(lambda: sized(model(3), folder))
    write(folder / "empty.nrrd", block((0, 0, 0)), (1.0, 2.0, 5.0))
    assert "found no structure of the model" in refusal(lambda: sized(model(3), folder))
    write(folder / "image.nrrd", 0.3 * block((4, 3, 2)), (1.0, 2.0, 5.0))
    assert "expected one channel of whole-number labels" in refusal(lambda: sized(model(3), folder))
    (folder / "image.nrrd").write_bytes(b"damaged")
    assert "image.nrrd: found" in refusal(lambda: sized(model(3), folder))


# --- The command -------------------------------------------------------------------------------


def test_a_run_is_judged_by_volumes_if_the_model_was_imported_with_label_maps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = SETTINGS["2d plain, thick slices"]
    source = write_model(tmp_path / "model", setting, steps=40)
    volume, labels = image(setting)
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "image.nrrd"))
    (tmp_path / "labelsTr").mkdir()
    drawn = Volume(labels[None], volume.geometry).to_sitk()
    sitk.WriteImage(drawn, str(tmp_path / "labelsTr/patient_miller.nii.gz"))
    told, trust = {}, {}
    for name, more in (("with", ["--labels", str(tmp_path / "labelsTr")]), ("without", [])):
        bundle = tmp_path / name
        assert main(["import-model", str(source), "--output", str(bundle), *more]) == 0
        told[name] = capsys.readouterr().out
        words = ["--input", str(tmp_path / "image.nrrd"), "--output", str(tmp_path / f"run {name}")]
        words += ["--method", "self-training", "--option", "epochs=1", "--device", "cpu"]
        assert main(["run", "--bundle", str(bundle), *words]) == 0
        trust[name] = json.loads((tmp_path / f"run {name}/report.json").read_text())["trust"]
    ml = np.bincount(labels.ravel()) * np.prod(setting.image_spacing) / 1000
    assert f"brain ({0.75 * ml[1]:.3g}" in told["with"] and "Few label maps" in told["with"]
    assert (
        "volumes         not known; type them with --volumes, or let import-model --labels"
        in told["without"]
    )
    assert trust["with"]["signals"]["outside_result"] is not None
    assert trust["without"]["signals"]["outside_result"] is None
    advice = ["import-model --labels" in " ".join(trust[n]["reasons"]) for n in ("with", "without")]
    assert advice == [False, True]
    metadata = (tmp_path / "with" / METADATA).read_text()
    assert "miller" not in metadata and "labelsTr" not in metadata
    origin = json.loads(metadata)["sfda"]["provenance"]
    assert origin["label_maps"] == {"cases": 1, "showing": {"brain": 1, "lesion": 1}}
    assert origin["import"]["from"] == "nnU-Net v2"


def test_a_bundle_gets_sizes_and_stays_as_it_is_otherwise(
    tiny_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "sized"
    words = ["import-model", str(tiny_bundle), "--output", str(output)]
    assert main([*words, "--labels", str(folder)]) == 0
    before, after = (open_model(path).load(torch.device("cpu")) for path in (tiny_bundle, output))
    assert after.description.labels[0].size_ml == (0.18, 0.6)
    assert before.description.labels[0].size_ml == (10.0, 200.0)
    labels, origin = before.description.labels, before.description.provenance
    assert replace(after.description, labels=labels, provenance=origin) == before.description
    for part in ("network", "early_head", "diffusion"):
        was, now = (getattr(source, part).state_dict() for source in (before, after))
        assert list(was) == list(now) and all(torch.equal(was[key], now[key]) for key in was)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--labels", "nowhere"], "nowhere: found no folder"),
        (["--labels", "nowhere", "--relabel", "1=x"], '--relabel: found "1=x"'),
        (["--relabel", "1=2"], "found --relabel alone"),
        (["--labels", "nowhere", "--bundle", "b"], "expected --diffusion with --bundle"),
        (
            ["--labels", "x", "--bundle", "b", "--diffusion", "med-ddpm-brats"],
            "found --labels with --diffusion",
        ),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(
    tiny_bundle: Path,
    tmp_path: Path,
    words: list[str],
    expected: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    output = tmp_path / "out"
    assert main(["import-model", str(tiny_bundle), "--output", str(output), *words]) == 2
    (record,) = caplog.records
    assert expected in record.getMessage() and "\n" not in record.getMessage()
    assert not output.exists()
