"""Many images in one job: each by itself or adapted together, and those that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import geometry_around_head, head
from phantoms import Phantom, write
from quick_jobs import files_in, labels_of, report_of, run, words

from SFDALib.__main__ import main
from SFDALib.jobs import image_run
from SFDALib.jobs.cohort_images import names_of
from SFDALib.jobs.request import Cohort

Phantoms = Callable[..., Phantom]


@pytest.fixture
def three_images(tmp_path: Path) -> Path:
    """A folder with two heads of different size and, between them, a text that claims to be one."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, size, mm in (("a", (30, 34, 14), 2.8), ("c", (40, 44, 12), 2.1)):
        write(folder / f"{name}.nii.gz", *_of(head(geometry_around_head(size, (mm, mm, 6.0)))))
    (folder / "b.nii.gz").write_text("no image")
    (folder / "notes.txt").write_text("not an image and not meant as one")
    return folder


def _of(volume: Any) -> tuple[np.ndarray, Any]:
    return volume.array, volume.geometry


def cohort_words(phantom: Phantom, method: str, images: Path, output: Path) -> list[str]:
    request = words(phantom, method, output)
    request[request.index("--input") + 1] = str(images)
    return ["cohort", *request]


def test_a_cohort_goes_on_after_an_image_that_cannot_be_used(
    phantom: Phantoms, three_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert main(cohort_words(phantom(), "early-features", three_images, out)) == 2
    summary = json.loads((out / "cohort.json").read_text())
    assert (summary["done"], summary["failed"], summary["adapted"]) == (2, 1, "each")
    assert [row["image"] for row in summary["images"]] == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    errors = [row["error"] for row in summary["images"]]
    assert errors[0] is None and errors[2] is None and "b.nii.gz" in errors[1]
    assert {entry.name for entry in out.iterdir()} == {"a", "c", "cohort.json"}
    one = Phantom(three_images / "c.nii.gz", phantom().labels, phantom().bundle)
    alone = run(one, "early-features", tmp_path / "alone")
    assert files_in(alone) == files_in(out / "c")
    for name in files_in(alone) - {"report.json"}:
        assert (alone / name).read_bytes() == (out / "c" / name).read_bytes(), name


def test_a_cohort_can_adapt_once_to_all_its_images(
    phantom: Phantoms, three_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    request = cohort_words(phantom(), "adami", three_images, out)
    assert main([*request, "--adapt", "once", "--progress", "json"]) == 2
    told = [json.loads(line).get("stage") for line in capsys.readouterr().out.splitlines()]
    first = {stage: told.index(stage) for stage in told}
    # The source model's probabilities of all images at once would be too much to keep.
    assert first["adapting"] < first["source model"] < first["adapted model"]
    summary = json.loads((out / "cohort.json").read_text())
    assert (summary["done"], summary["failed"], summary["adapted"]) == (2, 1, "once")
    assert summary["seconds"]["adaptation"] > 0
    assert {entry.name for entry in out.iterdir()} == {"a", "c", "cohort.json", "adapted_bundle"}
    for name in ("a", "c"):
        assert not (out / name / "adapted_bundle").exists()
        assert report_of(out / name)["adaptation"]["curves"]["criterion"]
        image = three_images / f"{name}.nii.gz"
        one = Phantom(image, phantom().labels, out / "adapted_bundle")
        alone = run(one, "none", tmp_path / f"alone-{name}")
        assert (labels_of(alone) == labels_of(out / name, "adapted_segmentation")).all()


def test_a_cohort_of_broken_images_alone_writes_nothing(
    phantom: Phantoms, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/b.nii.gz").write_text("no image")
    out = tmp_path / "out"
    assert main(cohort_words(phantom(), "none", tmp_path / "images", out)) == 2
    assert not out.exists()
    assert "none of 1 image(s) worked" in caplog.messages[-1]


def test_a_cohort_goes_on_after_an_image_too_large_for_the_memory(
    phantom: Phantoms, three_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(model: Any, image: np.ndarray, *arguments: Any, **more: Any) -> Any:
        if image.shape[1] == 12:
            raise MemoryError("Unable to allocate 3.2 GiB")
        return real(model, image, *arguments, **more)

    real = image_run.predict
    monkeypatch.setattr(image_run, "predict", predict)
    out = tmp_path / "out"
    assert main(cohort_words(phantom(), "none", three_images, out)) == 2
    rows = json.loads((out / "cohort.json").read_text())["images"]
    assert rows[0]["error"] is None and "Unable to allocate 3.2 GiB" in rows[2]["error"]


def test_the_folders_of_a_cohort_have_names_of_their_own() -> None:
    paths = ["x/a_2.nrrd", "x/a.nrrd", "y/a.nii.gz", "z/A.png", "adapted_bundle.mha", "s.1.nrrd"]
    names = names_of([*paths, "s.2.nrrd", "dicom/..", "/"], {"adapted_bundle", "cohort.json"})
    assert names[:4] == ["a_2", "a", "a_3", "A_4"]
    assert names[4:7] == ["adapted_bundle_2", "s.1", "s.2"]
    assert len({name.casefold() for name in names}) == len(names)
    assert not {"", ".", ".."} & set(names)


def test_a_cohort_can_be_described_by_a_job_file(
    phantom: Phantoms, three_images: Path, tmp_path: Path
) -> None:
    files = {"bundle": str(phantom().bundle), "input": (str(three_images),)}
    cohort = Cohort(**files, output=str(tmp_path / "out"), method="none", device="cpu")
    (tmp_path / "job.json").write_text(json.dumps(cohort.to_dict()))
    assert main(["cohort", "--job", str(tmp_path / "job.json")]) == 2  # one of three is no image
    summary = json.loads((tmp_path / "out/cohort.json").read_text())
    assert (summary["done"], summary["failed"], summary["adapted"]) == (2, 1, "each")
