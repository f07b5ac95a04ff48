"""A job's result folder: which files, on which grid, what the report says, and that it repeats."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from phantoms import Phantom
from quick_jobs import QUICK, files_in, labels_of, report_of, run, words

import SFDALib
from SFDALib.__main__ import main
from SFDALib.bundle.open_model import open_model
from SFDALib.jobs.engine import open_engine
from SFDALib.methods import registry

Phantoms = Callable[..., Phantom]
QUICK |= {"patches": 4, "ensemble": 2}
HEAL_FILES = {"nig_uncertainty.nrrd", "denoised.seg.nrrd"}
SERVED = [
    name for name in registry.comparable(registry.METHODS) if "3d" not in registry.find(name).needs
]
ADAPTING = [name for name in SERVED if registry.find(name).adapts]
EVERY = ("segmentation.seg.nrrd", "source_segmentation.seg.nrrd", "entropy.nrrd", "report.json")


@pytest.fixture(scope="module")
def results(phantom: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run of every method of 2D models on the oblique head, read only."""
    folder = tmp_path_factory.mktemp("results")
    return {method: run(phantom(), method, folder / method) for method in SERVED}


# --- The files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SERVED)
def test_a_run_leaves_exactly_the_files_of_the_design(
    results: dict[str, Path], method: str
) -> None:
    expected = {*EVERY, "overview.png"}
    if method != "none":
        expected |= {"adapted_segmentation.seg.nrrd"}
    if method == "heal":
        expected |= HEAL_FILES | {"samples/sample_0.nrrd", "samples/sample_1.nrrd"}
    if registry.find(method).adapts:
        inside = ("configs/metadata.json", "configs/inference.json", "LICENSE", "docs/README.md")
        models = ["models/model.pt", "models/diffusion.pt"]
        models += ["models/early_head.pt"] if method != "dg-tta" else []  # an ensemble has none
        expected |= {f"adapted_bundle/{name}" for name in (*inside, *models)}
    assert files_in(results[method]) == expected


@pytest.mark.parametrize("method", SERVED)
def test_every_image_lies_on_the_grid_of_the_input(
    results: dict[str, Path], phantom: Phantoms, method: str
) -> None:
    wanted = sitk.ReadImage(str(phantom().image))
    images = sorted(results[method].rglob("*.nrrd"))
    assert len(images) >= 3
    for file in images:
        image = sitk.ReadImage(str(file))
        assert image.GetSize() == wanted.GetSize(), file
        for part in ("GetSpacing", "GetOrigin", "GetDirection"):
            found = getattr(image, part)()
            assert found == pytest.approx(getattr(wanted, part)(), rel=0, abs=1e-6), (file, part)


@pytest.mark.parametrize("method", SERVED)
def test_segments_have_the_names_and_colours_of_the_bundle(
    results: dict[str, Path], phantom: Phantoms, method: str
) -> None:
    slicerio = pytest.importorskip("slicerio")
    (brain,) = open_model(phantom().bundle).describe().labels
    for file in results[method].rglob("*.seg.nrrd"):
        (segment,) = slicerio.read_segmentation(str(file))["segments"]
        assert (segment["name"], segment["labelValue"]) == ("Brain", brain.value)
        assert segment["color"] == pytest.approx([part / 255 for part in brain.color], abs=1e-5)


def test_maps_are_float32_in_their_range(results: dict[str, Path]) -> None:
    maps = [folder / "entropy.nrrd" for folder in results.values()]
    maps += [results["heal"] / "nig_uncertainty.nrrd", *(results["heal"] / "samples").iterdir()]
    for file in maps:
        image = sitk.ReadImage(str(file))
        array = sitk.GetArrayFromImage(image)
        assert image.GetPixelID() == sitk.sitkFloat32
        assert array.min() >= 0 and 0.5 < array.max() <= 1 + 1e-6, file  # binary: at most 1 bit


def test_the_entropy_is_high_at_the_border_of_the_segmentation_and_low_inside(
    results: dict[str, Path],
) -> None:
    entropy = sitk.GetArrayFromImage(sitk.ReadImage(str(results["none"] / "entropy.nrrd")))
    mask = sitk.ReadImage(str(results["none"] / "segmentation.seg.nrrd"))
    inner = sitk.GetArrayFromImage(sitk.BinaryErode(mask, (2, 2, 0))) > 0
    outer = sitk.GetArrayFromImage(sitk.BinaryDilate(mask, (1, 1, 0))) > 0
    assert entropy[inner].mean() < 0.5 * entropy[outer & ~inner].mean()


def test_no_adaptation_gives_the_source_models_own_result(
    results: dict[str, Path], phantom: Phantoms
) -> None:
    source = labels_of(results["none"], "source_segmentation")
    assert (labels_of(results["none"]) == source).all()
    reference = sitk.GetArrayFromImage(sitk.ReadImage(str(phantom().labels)))
    dice = 2 * (source & reference).sum() / (source.sum() + reference.sum())
    assert dice > 0.85  # the phantom's network really segments, else these tests show nothing
    for folder in results.values():
        assert (labels_of(folder, "source_segmentation") == source).all()


# --- The report --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SERVED)
def test_the_report_tells_everything_about_the_run(
    results: dict[str, Path], phantom: Phantoms, method: str
) -> None:
    report = report_of(results[method])
    known = registry.find(method).options
    assert report["method"] == method
    usual = {option.name: option.recommended for option in known}
    assert report["options"] == usual | {k: v for k, v in QUICK.items() if k in usual}
    assert report["preset"] == ("recommended" if report["options"] == usual else "custom")
    assert report["seed"] == 0 and report["device"].startswith("cpu")
    assert report["software"]["SFDA"] == SFDALib.__version__
    assert report["software"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    digest = hashlib.sha256(phantom().image.read_bytes()).hexdigest()
    assert report["input"] == [{"name": "head.nrrd", "sha256": digest}]
    assert report["bundle"]["sha256"] == open_model(phantom().bundle).sha256()
    stages = {"reading", "source segmentation", "segmentation", "restoring and writing"}
    stages |= {"adaptation"} if method in ADAPTING else set()
    stages |= {"judging"} if method != "none" else set()
    assert set(report["seconds"]) == stages
    assert all(seconds >= 0 for seconds in report["seconds"].values())
    assert report["peak_memory_mb"]["process"] > 50
    assert "not a medical device" in report["notice"]
    (volume,) = report["volumes"]
    own = "segmentation" if method == "none" else "adapted_segmentation"
    for name, key in ((own, "result_ml"), ("source_segmentation", "source_ml")):
        ml = (labels_of(results[method], name) == 1).sum() * 2.5 * 2.2 * 6.0 / 1000
        assert volume[key] == pytest.approx(ml, abs=1e-3)
    assert volume["name"] == "Brain" and len(volume["plausible_ml"]) == 2


def test_heal_reports_every_sample_and_the_chosen_one(results: dict[str, Path]) -> None:
    details = report_of(results["heal"])["details"]
    scores = [sample["score"] for sample in details["samples"]]
    assert len(scores) == QUICK["samples"] and all(0 <= score <= 1 for score in scores)
    assert scores[details["chosen_sample"]] == max(scores)
    for sample in details["samples"]:
        assert 0 <= sample["edge_density"] < 1
        share = sample["edge_voxels_met"] / details["condition_edge_voxels"]
        assert sample["score"] == pytest.approx(share)
    assert len({sample["seed"] for sample in details["samples"]}) == len(scores)
    assert details["diffusion_trained_on_source_only"] is True


@pytest.mark.parametrize("method", ADAPTING)
def test_a_method_that_adapts_reports_its_curves_and_why_it_stopped(
    results: dict[str, Path], method: str
) -> None:
    adaptation = report_of(results[method])["adaptation"]
    epochs = len(adaptation["curves"]["criterion"])
    if method == "bn-statistics":
        assert epochs == 2  # the source's and the settled state
    else:
        assert 3 <= epochs <= QUICK["epochs"] + 2
    assert {len(curve) for curve in adaptation["curves"].values()} == {epochs}
    assert 0 <= adaptation["best_epoch"] < epochs
    assert adaptation["stopped"]


# --- HEAL --------------------------------------------------------------------------------------


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_heal_fuses_the_smallest_structure_from_the_denoised_label(
    phantom: Phantoms, tmp_path: Path, spatial_dims: int
) -> None:
    folder = run(phantom(spatial_dims, classes=3), "heal", tmp_path / "out")
    report = report_of(folder)
    assert [volume["name"] for volume in report["volumes"]] == ["Brain", "Lesion"]
    assert all(volume["source_ml"] > 1 for volume in report["volumes"])
    fusion = report["details"]["fusion"]
    assert fusion["smallest_class"] == 2
    assert sum(fusion["lambdas"]) == pytest.approx(1)
    # On the model's grid they are equal. On the way back probabilities and labels are interpolated,
    # so that the fused structure is the larger one; by how much depends on the CPU's rounding.
    lesion, denoised = labels_of(folder) == 2, labels_of(folder, "denoised") == 2
    assert denoised.any() and (lesion & denoised).sum() > 0.9 * denoised.sum()


def test_every_method_works_on_a_colour_picture(phantom: Phantoms, tmp_path: Path) -> None:
    rgb = phantom(channels=3)
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(rgb.image)))[7]
    picture = tmp_path / "frame.png"
    sitk.WriteImage(
        sitk.GetImageFromArray((pixels * 0.8).clip(0, 255).astype(np.uint8), isVector=True),
        str(picture),
    )
    labels = tmp_path / "labels.png"
    sitk.WriteImage(
        sitk.Cast(sitk.ReadImage(str(rgb.labels))[:, :, 7], sitk.sitkUInt8), str(labels)
    )
    frame = Phantom(picture, labels, rgb.bundle)
    for method in SERVED:
        folder = run(frame, method, tmp_path / method)
        assert labels_of(folder).shape == (1, *pixels.shape[:2])
        assert (folder / "overview.png").is_file()
        if method == "heal":
            assert len(list((folder / "samples").iterdir())) == QUICK["samples"]


def silenced(phantom: Phantom, folder: Path, label: int) -> Phantom:
    """The phantom with a bundle that never predicts a label (of a binary one: anything)."""
    shutil.copytree(phantom.bundle, folder)
    weights = torch.load(folder / "models/model.pt", weights_only=True)
    outputs = open_model(phantom.bundle).describe().out_channels
    bias = [key for key, value in weights.items() if key.endswith("bias")][-1]
    assert weights[bias].shape == (outputs,)
    weights[bias][0 if outputs == 1 else label] = -1e3
    torch.save(weights, folder / "models/model.pt")
    return Phantom(phantom.image, phantom.labels, folder)


def test_heal_keeps_the_denoised_label_where_it_has_no_edges(
    phantom: Phantoms, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    request = words(phantom(), "heal", folder, canny_low=10, canny_high=10)
    assert main(["run", *request, "--gate", "off"]) == 0
    report = report_of(folder)
    assert any("has no edges" in note and "pseudo-label itself" in note for note in report["notes"])
    assert (labels_of(folder) == labels_of(folder, "denoised")).all() and labels_of(folder).any()
    assert not (folder / "samples").exists()


def test_heal_keeps_the_sources_result_where_every_voxel_is_rejected(
    phantom: Phantoms, tmp_path: Path
) -> None:
    folder = run(phantom(), "heal", tmp_path / "out", tau2=0, var_norm="none")
    report = report_of(folder)
    assert any("Every foreground voxel was rejected" in note for note in report["notes"])
    assert any("the source model's own" in note for note in report["notes"])
    assert not labels_of(folder, "denoised").any()
    assert (labels_of(folder) == labels_of(folder, "source_segmentation")).all()
    assert labels_of(folder).any()


def test_heal_says_so_where_the_source_finds_nothing(phantom: Phantoms, tmp_path: Path) -> None:
    folder = run(silenced(phantom(), tmp_path / "blind", 1), "heal", tmp_path / "out")
    report = report_of(folder)
    assert any("predicts no foreground" in note for note in report["notes"])
    assert not labels_of(folder).any()
    assert report["volumes"][0]["result_ml"] == 0


def test_heal_skips_fusion_where_one_class_is_present(phantom: Phantoms, tmp_path: Path) -> None:
    one = silenced(phantom(classes=3), tmp_path / "no-lesion", 2)
    report = report_of(run(one, "heal", tmp_path / "out"))
    assert any("single foreground class (1)" in note for note in report["notes"])
    assert report["details"]["fusion"]["smallest_class"] is None


def test_the_papers_own_variance_rejects_nothing_and_says_why(
    phantom: Phantoms, tmp_path: Path
) -> None:
    folder = run(phantom(), "heal", tmp_path / "out", nig="paper")
    report = report_of(folder)
    assert any("alpha <= 1" in note for note in report["notes"])
    assert any("Y* is the source model's own prediction" in note for note in report["notes"])
    assert report["details"]["kept_by_nig"] == 1


# --- The adapted bundle ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ADAPTING)
def test_an_adapted_bundle_gives_the_same_result_without_adapting_again(
    results: dict[str, Path], phantom: Phantoms, tmp_path: Path, method: str
) -> None:
    adapted = results[method] / "adapted_bundle"
    reused = run(Phantom(phantom().image, phantom().labels, adapted), "none", tmp_path / "out")
    own = labels_of(results[method], "adapted_segmentation")
    assert (labels_of(reused) == own).all()
    if report_of(results[method])["adaptation"]["best_epoch"]:
        before = torch.load(phantom().bundle / "models/model.pt", weights_only=True)
        after = torch.load(adapted / "models/model.pt", weights_only=True)
        first = "members.0." if method == "dg-tta" else ""  # of an ensemble
        assert any((before[key] != after[first + key]).any() for key in before)


@pytest.mark.parametrize("method", SERVED)
def test_the_diffusion_network_is_loaded_where_it_is_needed_or_carried_on(
    tiny_bundle: Path, method: str
) -> None:
    engine = open_engine(tiny_bundle, method, {}, torch.device("cpu"), 0)
    assert (engine.model.diffusion is not None) == (method == "heal" or method in ADAPTING)


def test_an_adaptation_leaves_the_source_bundle_as_it_was(
    phantom: Phantoms, tmp_path: Path
) -> None:
    before = open_model(phantom().bundle).sha256()
    run(phantom(), "early-features", tmp_path / "out", learning_rate=0.01)
    assert open_model(phantom().bundle).sha256() == before
    provenance = json.loads((tmp_path / "out/adapted_bundle/configs/metadata.json").read_text())
    adaptation = provenance["sfda"]["provenance"]["adaptation"]
    assert adaptation["source_bundle_sha256"] == before
    assert adaptation["options"]["learning_rate"] == 0.01


# --- Repeating ---------------------------------------------------------------------------------


# of the others, test_adaptation_methods.py compares the weights
@pytest.mark.parametrize("method", ["none", "heal", "adami", "early-features"])
def test_the_same_seed_gives_the_same_files(
    results: dict[str, Path], phantom: Phantoms, tmp_path: Path, method: str
) -> None:
    again = run(phantom(), method, tmp_path / "again")
    assert files_in(again) == files_in(results[method])
    for name in files_in(again) - {"report.json"}:
        assert (again / name).read_bytes() == (results[method] / name).read_bytes(), name
    reports = [report_of(folder) for folder in (again, results[method])]
    for report in reports:
        del report["seconds"], report["peak_memory_mb"]
    assert reports[0] == reports[1]


def test_another_seed_gives_other_samples(
    results: dict[str, Path], phantom: Phantoms, tmp_path: Path
) -> None:
    assert main(["run", *words(phantom(), "heal", tmp_path / "out"), "--seed", "1"]) == 0
    for name in ("sample_0.nrrd", "sample_1.nrrd"):
        pair = [
            sitk.ReadImage(str(f / "samples" / name)) for f in (tmp_path / "out", results["heal"])
        ]
        assert (sitk.GetArrayFromImage(pair[0]) != sitk.GetArrayFromImage(pair[1])).any()


def test_a_job_file_gives_the_same_as_the_words(
    results: dict[str, Path], phantom: Phantoms, tmp_path: Path
) -> None:
    job = {
        "bundle": str(phantom().bundle),
        "input": str(phantom().image),
        "method": "heal",
        "output": str(tmp_path / "out"),
        "options": {"samples": 2, "steps": 2},
        "device": "cpu",
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert main(["run", "--job", str(tmp_path / "job.json")]) == 0
    for name in files_in(results["heal"]) - {"report.json"}:
        assert (tmp_path / "out" / name).read_bytes() == (results["heal"] / name).read_bytes()
    assert report_of(tmp_path / "out")["options"] == report_of(results["heal"])["options"]


# --- The walls ---------------------------------------------------------------------------------


def test_nothing_that_computes_imports_slicer() -> None:
    sources = sorted(Path(SFDALib.__file__).parent.rglob("*.py"))
    assert len(sources) > 30
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            roots = {module.split(".")[0].lower() for module in modules}
            assert not roots & {"slicer", "qt", "ctk", "vtk", "pythonqt", "sfdasegmenter"}, source
