"""Where the request leaves it open, single slices are adapted to once and volumes one by one."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from bundles import describe
from quick_jobs import report_of

from SFDALib.__main__ import main
from SFDALib.errors import RequestError
from SFDALib.jobs import cohort_adapt
from SFDALib.jobs.cohort_adapt import decide
from SFDALib.jobs.request import Cohort
from SFDALib.methods import registry
from SFDALib.volume.reading import Reading

FILES: dict[str, Any] = {"bundle": "b", "input": ("i",), "output": "o"}


def image(folder: Path, name: str, slices: int) -> tuple[Path]:
    path = folder / f"{name}.nrrd"
    array = np.arange(slices * 64, dtype=np.float32).reshape(slices, 8, 8)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return (path,)


def decision(images: list[tuple[Path]], method: str = "auto", asked: str = "auto") -> Any:
    engine: Any = SimpleNamespace(method=registry.find(method), input_spec=describe(2).input_spec)
    return decide(asked, engine, images, Reading())


@pytest.fixture
def frames(tmp_path: Path) -> list[tuple[Path]]:
    """As many single slices as can be judged together."""
    return [image(tmp_path, f"frame{n}", 1) for n in range(8)]


@pytest.mark.parametrize("method", ["auto", "tent", "few-labels"])
def test_from_eight_single_slices_on_a_method_adapts_once(
    frames: list[tuple[Path]], method: str
) -> None:
    why = "all 8 images are single slices, which can only be judged together"
    assert decision(frames, method) == ("once", why)
    found, why = decision(frames[:7], method)
    assert found == "each" and why.startswith("found 7 readable single slice(s), expected at least")


def test_a_volume_among_them_has_a_verdict_of_its_own(
    frames: list[tuple[Path]], tmp_path: Path
) -> None:
    found, why = decision([*frames, image(tmp_path, "head", 2)])
    assert (found, why) == ("each", "head.nrrd is a volume, and volumes are judged one by one")


def test_an_image_that_cannot_be_read_does_not_count(
    frames: list[tuple[Path]], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.nrrd"
    damaged.write_bytes(b"nothing")
    assert decision([(damaged,), *frames])[0] == "once"
    assert decision([(damaged,), *frames[1:]])[0] == "each"


@pytest.mark.parametrize("method", ["none", "heal"])
def test_a_method_that_updates_no_weights_serves_each_image(
    frames: list[tuple[Path]], method: str
) -> None:
    title = registry.find(method).title
    assert decision(frames, method) == ("each", f"{title} updates no weights")


def test_what_is_asked_for_is_done(frames: list[tuple[Path]], tmp_path: Path) -> None:
    assert decision(frames, asked="each") == ("each", "the request says so")
    assert decision([image(tmp_path, "head", 2)], asked="once")[0] == "once"


def test_a_request_without_it_leaves_it_open(tmp_path: Path) -> None:
    assert Cohort(**FILES).checked().adapt == "auto"
    path = tmp_path / "job.json"
    path.write_text(json.dumps({**FILES, "input": "i"}), encoding="utf-8")
    assert Cohort.from_file(path).adapt == "auto"
    with pytest.raises(RequestError, match='adapt: found "all", expected auto or each or once'):
        Cohort(**FILES, adapt="all").checked()


@pytest.mark.parametrize(("least", "expected"), [(2, "once"), (3, "each")])
def test_reports_and_log_say_which_was_taken_and_why(
    tiny_bundle: Path,
    head_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    least: int,
    expected: str,
) -> None:
    monkeypatch.setattr(cohort_adapt, "LEAST_IMAGES", least)
    caplog.set_level(logging.INFO, "SFDALib.jobs.cohort")
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    head = sitk.ReadImage(str(head_file))
    for k in (5, 6):
        sitk.WriteImage(head[:, :, k : k + 1], str(images / f"slice{k}.nrrd"))
    request = ["--bundle", tiny_bundle, "--input", images, "--method", "bn-statistics"]
    assert main(["cohort", *map(str, request), "--output", str(out), "--device", "cpu"]) == 0
    summary = json.loads((out / "cohort.json").read_text(encoding="utf-8"))
    assert summary["adapted"] == expected
    assert (out / "adapted_bundle").is_dir() == (expected == "once")
    assert report_of(out / "slice5")["cohort"] == expected
    begin = {"once": "Adapted once to all images", "each": "Adapted to each image by itself"}
    sentence = f"{begin[expected]}: {summary['adapted_because']}."
    for folder in (one["folder"] for one in summary["images"]):
        assert (sentence in report_of(out / folder)["notes"]) == (expected == "once")
    assert caplog.messages[0] == caplog.messages[-2] == sentence
    assert caplog.messages[-1] == summary["trust"]["sentence"]
