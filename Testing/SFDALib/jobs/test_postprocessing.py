"""What a run tells of its post-processing, on an oblique head of 2.5 x 2.2 x 6 mm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from phantoms import Phantom

from SFDALib.__main__ import main
from SFDALib.jobs.engine import open_engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.image_run import ImageRun
from SFDALib.jobs.write_result import Outcome, write_result
from SFDALib.methods.outcome import Segmented
from SFDALib.volume.image_file import read_labels
from SFDALib.volume.reading import Reading

CPU = torch.device("cpu")


def run_on(phantom: Phantom, postprocess: str) -> ImageRun:
    engine = open_engine(phantom.bundle, "none", {}, CPU, 0, postprocess=postprocess)
    return ImageRun.read(engine, [phantom.image], Reading(), Reporter())


def with_islands(image: ImageRun) -> torch.Tensor:
    """Probabilities 0.9 in a block of 12 x 12 x 6 voxels and in a distant one of 2 x 2 x 2."""
    p = torch.full(image.target.source_probabilities.shape[1:], 0.1)
    p[3:9, 6:18, 6:18] = 0.9
    p[11:13, 1:3, 1:3] = 0.9
    return torch.stack([1 - p, p])


def test_source_and_result_are_treated_alike_and_the_report_says_what_was_removed(
    phantom: Callable[..., Phantom], tmp_path: Path
) -> None:
    image = run_on(phantom(), "largest")
    islands = with_islands(image)
    image = replace(image, target=replace(image.target, source_probabilities=islands))
    whole = islands.clone()
    whole[:, 11:13, 1:3, 1:3] = torch.tensor([0.8, 0.2])[:, None, None, None]
    spec = replace(image.target.conformed.input_spec, cleaning=())
    raw = replace(image.target.conformed, input_spec=spec).restore_labels(islands)
    clean = replace(image.target.conformed, input_spec=spec).restore_labels(whole)
    assert raw.sum() > clean.sum() > 0

    report = write_result(tmp_path, image, Outcome(Segmented(whole)), {})
    for name, expected in (("segmentation", clean), ("source_segmentation", clean)):
        assert (read_labels(tmp_path / f"{name}.seg.nrrd").array[0] == expected).all()
    voxel_ml = image.target.volume.geometry.voxel_ml
    assert voxel_ml == pytest.approx(2.5 * 2.2 * 6 / 1000)
    removed = round(int(raw.sum() - clean.sum()) * voxel_ml, 4)
    step = "keep the largest piece of each structure"
    (change,) = report["postprocessing"]["source"][0]["changes"]
    assert change == {
        **{"label": 1, "name": change["name"], "removed_ml": removed, "added_ml": 0.0},
        **{"pieces_before": 2, "pieces_after": 1},
    }
    assert report["postprocessing"]["result"] == [{"step": step, "changes": []}]
    (note,) = (note for note in report["notes"] if note.startswith("Post-processing"))
    assert note.startswith(f"Post-processing of the source model's result, {step}: ")
    assert "removed" in note and note.endswith("2 → 1 pieces.")
    assert report["volumes"][0]["source_ml"] == pytest.approx(int(clean.sum()) * voxel_ml, abs=1e-3)


def test_the_judge_and_adaptation_see_the_models_own_output(
    phantom: Callable[..., Phantom],
) -> None:
    """Its signals were fitted on results without post-processing."""
    off, largest = (run_on(phantom(), asked).target for asked in ("off", "smooth,largest"))
    assert torch.equal(off.source_probabilities, largest.source_probabilities)
    assert (off.conformed.array == largest.conformed.array).all()
    assert off.conformed.input_spec.cleaning == () != largest.conformed.input_spec.cleaning


def test_an_adapted_bundle_keeps_its_own_steps_whatever_the_run_was_asked(
    phantom: Callable[..., Phantom],
) -> None:
    engine = open_engine(phantom().bundle, "none", {}, CPU, 0, postprocess="largest")
    assert engine.model.description.input_spec.cleaning == ()
    assert len(engine.input_spec.cleaning) == 1


@pytest.mark.parametrize("command", ["run", "cohort", "compare"])
def test_a_step_that_the_model_cannot_have_is_refused_before_its_weights_are_read(
    phantom: Callable[..., Phantom],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    command: str,
) -> None:
    bundle = shutil.copytree(phantom().bundle, tmp_path / "bundle")
    (bundle / "models/model.pt").write_bytes(b"damaged")
    metadata = json.loads((bundle / "configs/metadata.json").read_text(encoding="utf-8"))
    for label in metadata["sfda"]["labels"]:
        label.pop("size_ml", None)
    (bundle / "configs/metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    words = [command, "--bundle", bundle, "--input", phantom().image, "--output", tmp_path / "out"]
    assert main(list(map(str, [*words, "--postprocess", "plausible"]))) == 2
    assert "postprocess, plausible: found no plausible volume" in caplog.messages[-1]
    assert not (tmp_path / "out").exists()
    assert main(list(map(str, words))) == 2
    assert "model.pt" in caplog.messages[-1]


def test_the_command_line_applies_the_steps_and_the_probabilities_agree(
    phantom: Callable[..., Phantom], tmp_path: Path
) -> None:
    words = ["run", "--bundle", phantom().bundle, "--input", phantom().image, "--method", "none"]
    words += ["--postprocess", "largest,smooth", "--probabilities", "--output", tmp_path / "out"]
    assert main(list(map(str, words))) == 0
    report = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))
    assert [step["step"].split()[0] for step in report["postprocessing"]["result"]] == [
        "average",
        "keep",
    ]
    labels = read_labels(tmp_path / "out/segmentation.seg.nrrd").array[0]
    assert np.count_nonzero(labels)
