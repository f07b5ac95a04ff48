"""A path is opened once as the kind of model that it holds; an importer is one function."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
from bundles import describe
from checked_bundles import CPU, METADATA, change
from monai_models import write_published
from nnunet_models import SETTINGS, write_model
from refusals import refusal

from SFDALib.__main__ import main
from SFDALib.bundle import bundle_files, loading, open_model
from SFDALib.bundle.description import Description
from SFDALib.bundle.source import Source
from SFDALib.bundle.source_model import Candidate, ImportOptions
from SFDALib.errors import RequestError
from SFDALib.hashing import opener, sha256_of_named
from SFDALib.jobs.engine import open_engine
from SFDALib.networks.build import build_network

FLAT = SETTINGS["2d plain, thick slices"]
Models = Callable[[str], Path]


@pytest.fixture
def model(tiny_bundle: Path, tmp_path: Path) -> Models:
    """A model of each kind."""
    make = {
        "ours": lambda: tiny_bundle,
        "MONAI": lambda: write_published(tmp_path / "spleen", "spleen"),
        "nnU-Net": lambda: write_model(tmp_path / "nnUNetTrainer__nnUNetPlans__2d", FLAT),
    }
    return lambda kind: make[kind]()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a bundle was opened and each file read, but for the reading of checksums."""
    count: Counter[str] = Counter()

    class Counted(bundle_files.BundleFiles):
        def __init__(self, path: Path) -> None:
            count["bundle"] += 1
            super().__init__(path)

    def parse(data: bytes, where: str) -> object:
        count[where.replace("\\", "/").rsplit("/", 1)[-1]] += 1
        return real(data, where)

    real = bundle_files.json_file.parse
    monkeypatch.setattr(bundle_files.json_file, "parse", parse)
    monkeypatch.setattr("SFDALib.bundle.source_model.BundleFiles", Counted)
    return count


OPENED = {
    "ours": {"bundle": 1, "metadata.json": 1, "inference.json": 1},
    "MONAI": {"bundle": 1, "metadata.json": 1, "inference.json": 1},
    "nnU-Net": {"plans.json": 1, "dataset.json": 1},
}


@pytest.mark.parametrize("kind", OPENED)
def test_a_run_opens_its_model_once_and_parses_each_description_once(
    model: Models, opened: Counter[str], kind: str
) -> None:
    if kind == "nnU-Net":
        pytest.importorskip("dynamic_network_architectures", reason="nnU-Net's networks")
    path = model(kind)
    engine = open_engine(path, "none", {}, CPU, seed=0)
    assert engine.bundle.sha256() == engine.bundle_sha256  # the check at the end of a run
    assert opened == OPENED[kind]


@pytest.mark.parametrize("kind", ["early-head", "diffusion"])
def test_a_training_opens_its_bundle_once(
    tiny_bundle: Path, head_file: Path, tmp_path: Path, opened: Counter[str], kind: str
) -> None:
    labels = sitk.Cast(sitk.ReadImage(str(head_file)) > 200, sitk.sitkUInt8)
    sitk.WriteImage(labels, str(tmp_path / "labels.nrrd"))
    rows = f"image,label,split\n{head_file},{tmp_path / 'labels.nrrd'},train\n"
    (tmp_path / "cases.csv").write_text(rows, encoding="utf-8")
    words = ["train", kind, "--bundle", str(tiny_bundle), "--output", str(tmp_path / "out")]
    words += ["--manifest", str(tmp_path / "cases.csv"), "--steps", "1", "--batch", "2"]
    if kind == "diffusion":
        diffusion = describe().diffusion
        assert diffusion is not None
        config = {"network": dict(diffusion.network), "spacing": diffusion.spacing}
        config |= {"timesteps": 50, "foreground": True}
        (tmp_path / "d.json").write_text(json.dumps(config), encoding="utf-8")
        words += ["--config", str(tmp_path / "d.json"), "--patch-size", "32,32"]
    assert main([*words, "--device", "cpu"]) == 0
    assert opened["bundle"] == opened["metadata.json"] == opened["inference.json"] == 1


@pytest.mark.parametrize("kind", OPENED)
def test_a_checksum_refuses_a_description_that_changed_since_it_was_read(
    model: Models, tmp_path: Path, kind: str
) -> None:
    path = shutil.copytree(model(kind), tmp_path / "trainer__plans__2d")
    found = open_model.open_model(path)
    found.describe()
    before = found.sha256()
    file = path / ("plans.json" if kind == "nnU-Net" else METADATA)
    file.write_bytes(file.read_bytes() + b" ")
    assert f"{path}: found other content in " in refusal(found.sha256)
    assert open_model.open_model(path).sha256() != before


# --- An importer ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ToyModel:
    """A model that a file ``toy.pt`` makes of a folder; every method in a line or two."""

    path: Path
    folds: str = "all"

    def describe(self) -> Description:
        return replace(describe(), name="Toy", early_head=None, diffusion=None)

    def require_weights(self) -> None:
        assert (self.path / "toy.pt").is_file()

    def sha256(self) -> str:
        return sha256_of_named([("toy.pt", opener(self.path / "toy.pt"))], str(self.path))

    def load(self, device: torch.device, diffusion: bool = True) -> Source:
        weights = torch.load(self.path / "toy.pt", weights_only=True)
        sets = [(str(self.path / "toy.pt"), weights)]
        return loading.load_imported(self.describe(), sets, "toy", device)


def recognise(candidate: Candidate) -> ToyModel | None:
    there = (candidate.path / "toy.pt").is_file()
    return ToyModel(candidate.path, candidate.options.folds) if there else None


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy model, and the importer for it in the list."""
    monkeypatch.setattr(open_model, "IMPORTERS", [*open_model.IMPORTERS[:2], recognise])
    (tmp_path / "toy").mkdir()
    weights = build_network(describe().network).state_dict()
    torch.save(weights, tmp_path / "toy/toy.pt")
    return tmp_path / "toy"


def test_an_importer_in_the_list_serves_every_command(
    toy: Path, head_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(toy)]) == 0
    assert capsys.readouterr().out.startswith("Toy\n")
    assert main(["import-model", str(toy), "--output", str(tmp_path / "bundle")]) == 0
    results = []
    for bundle in (toy, tmp_path / "bundle"):
        engine = open_engine(bundle, "none", {}, CPU, seed=0)
        results.append(engine.model.network.state_dict())
        words = ["run", "--bundle", str(bundle), "--input", str(head_file), "--method", "none"]
        output = tmp_path / f"out-{bundle.name}"
        assert main([*words, "--output", str(output), "--device", "cpu"]) == 0
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])


def test_an_importer_gets_what_the_user_says_of_the_model(toy: Path) -> None:
    found = open_model.open_model(toy, ImportOptions(folds="3"))
    assert isinstance(found, ToyModel) and found.folds == "3"


def test_a_bundle_of_ours_is_recognised_by_no_importer(
    tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_model.recognised(Candidate(tiny_bundle)) is None
    words = ["import-model", str(tiny_bundle), "--output", str(tmp_path / "out")]
    assert main(words) == 2
    assert "needs no import" in caplog.text


def test_a_folder_is_recognised_by_one_importer(model: Models) -> None:
    for kind in OPENED:
        candidate = Candidate(model(kind))
        taken = [one.__module__ for one in open_model.IMPORTERS if _takes(one, candidate)]
        assert len(taken) == (0 if kind == "ours" else 1), kind


def _takes(importer: Callable[[Candidate], object], candidate: Candidate) -> bool:
    try:
        return importer(candidate) is not None
    except RequestError:  # MONAI's, of what is no bundle
        return False


def test_a_change_of_the_metadata_is_a_change_of_the_model(bundle: Path) -> None:
    before = open_model.open_model(bundle).sha256()
    change(bundle, METADATA, lambda content: content.update(name="Another"))
    assert open_model.open_model(bundle).sha256() != before
