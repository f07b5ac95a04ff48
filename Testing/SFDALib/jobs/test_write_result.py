"""What a job writes, and what it takes to add a map."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
import torch
from phantoms import Phantom
from quick_jobs import files_in

from SFDALib.jobs.engine import open_engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.image_run import ImageRun
from SFDALib.jobs.write_result import Outcome, write_result
from SFDALib.methods.outcome import Segmented
from SFDALib.results import layout
from SFDALib.volume.reading import Reading

TOY = layout.MapFile(
    "toy", "toy.nrrd", "Toy", "Where the toy is.", unit="mm", maximum=3.0, colormap="magma"
)


@pytest.fixture(scope="module")
def image(phantom: Callable[..., Phantom]) -> ImageRun:
    engine = open_engine(phantom().bundle, "none", {}, torch.device("cpu"), 0)
    return ImageRun.read(engine, [phantom().image], Reading(), Reporter())


@pytest.fixture
def segmented(image: ImageRun) -> Segmented:
    return Segmented(image.target.source_probabilities)


def write(folder: Path, image: ImageRun, segmented: Segmented) -> dict[str, Any]:
    folder.mkdir()
    return write_result(folder, image, Outcome(segmented), {"more": 1})


def test_the_report_lists_what_was_written(
    tmp_path: Path, image: ImageRun, segmented: Segmented
) -> None:
    report = write(tmp_path / "out", image, segmented)
    listed = report["files_written"]
    assert set(listed.values()) == files_in(tmp_path / "out") - {"report.json"}
    assert listed["result"] == "segmentation.seg.nrrd" and listed["entropy"] == "entropy.nrrd"
    read = json.loads((tmp_path / "out/report.json").read_text())
    assert read["files_written"] == listed and read["more"] == 1


def test_a_new_map_takes_one_entry_in_the_layout_and_its_values(
    tmp_path: Path,
    image: ImageRun,
    segmented: Segmented,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(layout, "RESULT_FOLDER", (*layout.RESULT_FOLDER, TOY))
    values = torch.full(image.target.source_probabilities.shape[1:], 1.5)
    report = write(tmp_path / "out", image, replace(segmented, maps={"toy": values}))
    assert report["files_written"]["toy"] == "toy.nrrd"
    found = sitk.ReadImage(str(tmp_path / "out/toy.nrrd"))
    assert found.GetSize() == image.target.volume.geometry.size
    assert sitk.GetArrayFromImage(found).max() == 1.5
    # what the panel and the picture show of it
    assert layout.maps()["toy"].legend == "Toy (mm)"
    assert layout.maps()["toy"].window(classes=2) == (0.0, 3.0)
    plain = tmp_path / "plain"
    write(plain, image, segmented)
    pictures = [folder / "overview.png" for folder in (plain, tmp_path / "out")]
    assert pictures[0].read_bytes() != pictures[1].read_bytes()


def test_a_map_without_an_entry_in_the_layout_is_a_defect(
    tmp_path: Path, image: ImageRun, segmented: Segmented
) -> None:
    values = torch.zeros(image.target.source_probabilities.shape[1:])
    with pytest.raises(KeyError, match="toy"):
        write(tmp_path / "out", image, replace(segmented, maps={"toy": values}))
