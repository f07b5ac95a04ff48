"""What a run says of its certainty: probabilities, uncertainty, and images that do not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from bundles import describe

from SFDALib.__main__ import main
from SFDALib.bundle import source
from SFDALib.bundle.description import Fingerprint
from SFDALib.bundle.metadata import from_json, to_json
from SFDALib.bundle.open_model import open_model
from SFDALib.errors import RequestError
from SFDALib.jobs import certainty
from SFDALib.jobs.image_run import Target
from SFDALib.jobs.request import Job
from SFDALib.machine import devices
from SFDALib.trust.fingerprint import measured, unlike
from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.input_spec import InputSpec
from SFDALib.volume.normalisation import Normalisation

GRID = InputSpec(1, None, (None, None, None), Normalisation("none"), False)


def run(bundle: Path, image: Path, output: Path, *more: str) -> dict[str, Any]:
    words = ["run", "--bundle", bundle, "--input", image, "--output", output, "--device", "cpu"]
    assert main([*map(str, words), *more]) == 0
    return json.loads((output / "report.json").read_text(encoding="utf-8"))


def array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.parametrize("method", ["none", "tent"])
def test_the_largest_of_the_probabilities_is_what_is_delivered(
    tiny_bundle: Path, head_file: Path, tmp_path: Path, method: str
) -> None:
    more = ["--method", method, "--probabilities"]
    more += ["--option", "epochs=1"] if method == "tent" else []
    report = run(tiny_bundle, head_file, tmp_path / "out", *more)
    maps = sitk.ReadImage(str(tmp_path / "out/probabilities.nrrd"))
    labels = array(tmp_path / "out/segmentation.seg.nrrd")
    assert maps.GetSize() == sitk.ReadImage(str(head_file)).GetSize()
    assert (sitk.GetArrayFromImage(maps).argmax(-1) == labels).all()
    assert maps.GetMetaData("channel0_name") == "background"
    assert maps.GetMetaData("channel1_name") == report["uncertainty"][0]["name"]


def test_probabilities_are_written_where_they_are_asked_for_alone(
    tiny_bundle: Path, head_file: Path, tmp_path: Path
) -> None:
    run(tiny_bundle, head_file, tmp_path / "out", "--method", "none")
    assert not (tmp_path / "out/probabilities.nrrd").exists()
    job = {"bundle": "b", "input": "i", "method": "none", "output": "o"}
    (tmp_path / "job.json").write_text(json.dumps({**job, "probabilities": True}))
    assert Job.from_file(tmp_path / "job.json").probabilities is True
    (tmp_path / "job.json").write_text(json.dumps({**job, "probabilities": 1}))
    with pytest.raises(RequestError, match="expected true or false"):
        Job.from_file(tmp_path / "job.json")


def test_uncertainty_is_the_mean_entropy_inside_a_structure_and_on_each_of_its_slices() -> None:
    """By hand: p = 0.5 has 1 bit, p = 0.9 has 0.4690, and a certain voxel none."""
    volume = Volume(np.zeros((1, 4, 3, 3), np.float32), Geometry((3, 3, 4), (1.0, 1.0, 1.0)))
    p = torch.zeros(4, 3, 3)
    p[1, 0], p[3, 0, 0], p[2, 0, 0] = 0.9, 0.5, 0.5
    delivered = np.zeros((4, 3, 3), np.uint8)
    delivered[1, 0] = delivered[3, 0, 0] = 1
    probabilities = torch.stack([1 - p, p])
    labels = describe(classes=3).labels
    target = Target((), {}, volume, conform(volume, GRID), probabilities, labels)
    first, second = certainty.structures(target.entropy, delivered, labels)
    assert first["entropy_bits"] == pytest.approx((3 * 0.4690 + 1) / 4, abs=1e-4)
    assert first["uncertain_percent"] == 25.0
    assert first["slices"] == {
        "first": 1,
        "entropy_bits": [pytest.approx(0.4690, abs=1e-4), None, 1.0],
        "voxels": [3, 0, 1],
    }
    assert second["entropy_bits"] is None and second["slices"] is None


# Intensities


def ct() -> np.ndarray:
    """Air, a body of 40 HU with organs of 100 HU and bone."""
    rng = np.random.default_rng(0)
    image = np.full((1, 12, 40, 40), -1000.0)
    image[:, :, 6:34, 6:34] = 40
    image[:, :, 12:24, 12:24] = 100
    image[:, :, 28:31, 18:22] = 900
    return image + rng.normal(0, 10, image.shape)


def model(kind: str = "fixed", modality: str = "CT") -> Any:
    normalisation = Normalisation(kind, -20.0, 200.0, 90.0, 40.0)
    described = describe(3)
    grid = replace(described.input_spec, normalisation=normalisation)
    known = (Fingerprint(-15.0, 100.0, 197.0, 99.0, 38.0),)
    return replace(described, input_spec=grid, fingerprint=known, modality=modality)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu: hu, None),
        (lambda hu: np.round(hu), None),
        (lambda hu: hu[:, :, 8:32, 8:32], "as smallest value"),  # cut inside the body
        (lambda hu: hu + 1024, "no Hounsfield units, or have an offset"),
        (lambda hu: np.round((np.clip(hu, -150, 250) + 150) / 400 * 255), "as smallest value"),
        (lambda hu: hu / 1000, "as smallest value"),
        (lambda hu: -hu, "seems to be inverted"),
        (lambda hu: hu * 10, None),
    ],
)
def test_a_ct_in_another_unit_is_told(change: Any, words: str | None) -> None:
    told = unlike(change(ct()), model())
    assert len(told) == (words is not None) and (words is None or words in told[0])


def test_a_model_that_scales_each_image_does_not_mind_its_range() -> None:
    assert unlike(ct() * 7 + 9000, model("zscore", "MR")) == []
    assert len(unlike(-ct(), model("zscore", "MR"))) == 1


def test_a_model_of_pictures_tells_what_it_cuts_off() -> None:
    described = model("zscore", "RGB")
    grid = replace(
        described.input_spec, normalisation=Normalisation("fixed", 0.0, 255.0, 0.0, 255.0)
    )
    described = replace(described, input_spec=grid, fingerprint=())
    assert "from 0 to 4095" in unlike(np.array([0.0, 4095]).reshape(1, 1, 1, 2), described)[0]
    assert unlike(np.array([0.0, 255]).reshape(1, 1, 1, 2), described) == []


def test_an_export_to_8_bits_is_told() -> None:
    bytes_ = np.round((ct() - ct().min()) / (ct().max() - ct().min()) * 255)
    known = replace(model("zscore", "MR"), fingerprint=(Fingerprint(20, 800, 3000, 900, 400),))
    assert "an export to 8 bits" in unlike(bytes_, known)[0]


def test_a_fingerprint_is_what_lies_inside_the_labels_and_survives_its_json() -> None:
    found = measured([np.arange(0, 101), np.arange(0, 101)])
    assert (found.low, found.median, found.high) == (0.005, 50.0, 99.995)  # of 202 numbers
    assert (found.mean, found.std) == (50.0, pytest.approx(29.1548, abs=1e-4))
    assert measured([]) is None
    described = replace(describe(2), fingerprint=(found,), cautions=("Look.",))
    back = from_json(*json.loads(json.dumps(to_json(described))))
    assert back.fingerprint == (found,) and back.cautions == ("Look.",)


def test_what_does_not_fit_is_in_the_report_and_on_the_way(
    tiny_bundle: Path, head_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Before the run, too, by ``estimate`` of the same image."""
    loaded = open_model(tiny_bundle).load(devices.resolve("cpu"))
    grid = replace(
        loaded.description.input_spec, normalisation=Normalisation("fixed", -20, 200, 90, 40)
    )
    known = (Fingerprint(-9000.0, -8500.0, -8000.0, -8500.0, 100.0),)
    described = replace(
        loaded.description,
        input_spec=grid,
        fingerprint=known,
        cautions=("Look twice.",),
        diffusion=None,
        early_head=None,
    )
    source.write(tmp_path / "bundle", described, loaded.network.state_dict())
    capsys.readouterr()
    more = ["--method", "none", "--progress", "json"]
    report = run(tmp_path / "bundle", head_file, tmp_path / "out", *more)
    note = next(note for note in report["notes"] if "of its voxels from -9000 to -8000" in note)
    assert "Look twice." in report["notes"]
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["text"] for event in events if event["event"] == "warning"] == [note]
    words = ["estimate", "--bundle", tmp_path / "bundle", "--input", head_file, "--json"]
    assert main([*map(str, words), "--method", "none", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [note]


def test_an_estimate_takes_an_image_or_its_size(tiny_bundle: Path, head_file: Path) -> None:
    words = ["estimate", "--bundle", str(tiny_bundle), "--method", "none"]
    assert main(words) == 2
    assert main([*words, "--input", str(head_file), "--size", "9,9,9", "--spacing", "1,1,1"]) == 2


# Apple GPUs


@pytest.mark.parametrize(("version", "sound"), [("2.10.1", False), ("2.11.0a0+git", True)])
def test_an_apple_gpu_needs_a_torch_that_computes_rightly_there(
    monkeypatch: pytest.MonkeyPatch, version: str, sound: bool
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "__version__", version)
    assert devices.resolve("auto").type == ("mps" if sound else "cpu")
    if not sound:
        with pytest.raises(RequestError, match=r"at least 2\.11 for an Apple GPU"):
            devices.resolve("mps")
