"""Hostile files do no harm.

The files are those of ``hostile.py``, some hundred of each kind; what fuzzing found first stands by
name below.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import hostile_models
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from monai_models import write_published
from nnunet_models import SETTINGS, plans, write_model

from SFDALib import json_file
from SFDALib.bundle.open_model import open_model
from SFDALib.errors import OutOfMemoryError, RequestError, shown
from SFDALib.jobs.inspect import inspect
from SFDALib.jobs.request import Job
from SFDALib.results.report import write_report
from SFDALib.volume.image_file import read_volume

RAMP = hostile.RAMP
NAMES = (
    *("bundle description", "bundle weights", "bundle zip", "job", "training configuration"),
    *("manifest", "labels", "image .nrrd", "image .nhdr", "image .mha", "image .mhd", "image .nii"),
    *("image .nii.gz", "image .png", "image .jpg", "image DICOM", "nnU-Net plans"),
    *("nnU-Net dataset", "nnU-Net checkpoint", "MONAI inference", "MONAI metadata"),
    "plain description",
)
SLOW_READERS = (
    *("bundle weights", "bundle zip", "bundle description", "nnU-Net plans", "nnU-Net dataset"),
    *("nnU-Net checkpoint", "MONAI inference", "MONAI metadata", "plain description"),
)


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, hostile.Reader]:
    place = tmp_path_factory.mktemp("valid")
    return {**hostile.readers(place), **hostile_models.readers(place)}


@pytest.mark.parametrize("name", NAMES)
def test_hostile_files_are_accepted_or_refused_in_a_line_and_do_nothing_else(
    readers: dict[str, hostile.Reader], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    logging.disable()
    results: dict[str, int] = {}

    @seed(0)
    @settings(
        max_examples=20 if name in SLOW_READERS else 100,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(readers[name].files)
    def read(files: dict[str, bytes]) -> None:
        result = hostile.outcome(readers[name], files, tmp_path)
        results[result] = results.get(result, 0) + 1

    try:
        read()
    finally:
        logging.disable(logging.NOTSET)
    assert set(results) <= {"accepted", "refused"}, results
    assert results["refused"] > 0


def test_every_reader_is_fuzzed(readers: dict[str, hostile.Reader]) -> None:
    assert set(NAMES) == set(readers)


# --- What fuzzing found --------------------------------------------------------------------------


def refusal(read: Callable[[], object], kind: type[Exception] = RequestError) -> str:
    with pytest.raises(kind) as caught:
        read()
    line = str(caught.value)
    assert shown(line) == line and len(line.splitlines()) == 1
    return line


@pytest.mark.parametrize(
    "change",
    [
        {"init_args": torch.zeros(2, 2)},
        {"init_args": {"configuration": torch.zeros(2)}},
        {"inference_allowed_mirroring_axes": torch.zeros(2)},
        {"inference_allowed_mirroring_axes": "x"},
        {"inference_allowed_mirroring_axes": [None]},
        {"network_weights": None},
        {"trainer_name": ["nnUNetTrainer"]},
    ],
)
def test_a_checkpoint_of_nnunet_with_other_things_in_it_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    model = write_model(tmp_path / "a__b__2d", SETTINGS["2d plain, thick slices"])
    file = model / "fold_0/checkpoint_final.pth"
    torch.save({**torch.load(file, weights_only=False), **change}, file)
    assert str(file) in refusal(lambda: open_model(model).load(torch.device("cpu")))


def test_models_without_a_label_are_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "a__b__2d", SETTINGS["2d plain, thick slices"])
    described = json.loads((model / "dataset.json").read_text())
    (model / "dataset.json").write_text(json.dumps({**described, "labels": {"background": 0}}))
    assert "found no label" in refusal(lambda: inspect(model))
    bundle = write_published(tmp_path / "spleen", "spleen")
    for name, change in (
        ("metadata", lambda told: told["network_data_format"]["outputs"].update(pred={})),
        ("inference", lambda told: told["network_def"].update(out_channels=0)),
    ):
        file = bundle / f"configs/{name}.json"
        told = json.loads(file.read_text())
        change(told)
        file.write_text(json.dumps(told))
    assert "found no label" in refusal(lambda: inspect(bundle))


def test_names_without_end_are_told_in_a_line_that_ends(tmp_path: Path) -> None:
    described = plans(SETTINGS["2d plain, thick slices"])
    described["configurations"]["2d"]["inherits_from"] = "gone"
    described["configurations"]["x" * 5000] = {}
    model = write_model(tmp_path / "a__b__2d", SETTINGS["2d plain, thick slices"])
    (model / "plans.json").write_text(json.dumps(described))
    assert len(refusal(lambda: inspect(model))) < 2000
    bundle = write_published(tmp_path / "brats", "brats")
    told = json.loads((bundle / "configs/metadata.json").read_text())
    told["network_data_format"]["outputs"]["pred"]["channel_def"]["1"] = "x" * 5000
    (bundle / "configs/metadata.json").write_text(json.dumps(told))
    assert len(refusal(lambda: inspect(bundle))) < 2000


META = (
    "ObjectType = Image\nNDims = {}\nDimSize = {}\nElementType = MET_SHORT\nElementDataFile = {}\n"
)
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 5\nencoding: raw\nendian: little\n"


@pytest.mark.parametrize("dimensions", ["2147483647", "4294967297", "99999999999999999999", "-1"])
def test_a_metaimage_of_many_dimensions_does_not_crash_the_process(
    tmp_path: Path, dimensions: str
) -> None:
    path = tmp_path / "x.mha"
    path.write_text(META.format(dimensions, "7 6 5", "LOCAL"))
    assert "dimensions" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("sizes", ["1 0 -1", "7 6", "7 6 5 4", "99999999999 6 5"])
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, sizes: str) -> None:
    meta, nrrd = tmp_path / "x.mha", tmp_path / "x.nrrd"
    meta.write_bytes(META.format(3, sizes, "LOCAL").encode() + RAMP.tobytes())
    nrrd.write_bytes(NRRD.replace("7 6 5", sizes).encode() + b"\n" + RAMP.tobytes())
    for path in (meta, nrrd):
        assert "whole sizes from 1" in refusal(lambda path=path: read_volume(path))


@pytest.mark.parametrize(
    "named",
    ["../secret.raw", "/etc/passwd", "/dev/zero", "LIST", "%d.raw 1 3 1", "link.raw", "gone.raw"],
)
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_voxels_are_read_from_one_file_beside_the_header_alone(
    tmp_path: Path, suffix: str, named: str
) -> None:
    (tmp_path / "secret.raw").write_bytes(RAMP.tobytes())
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    text = META.format(3, "7 6 5", named) if "m" in suffix else f"{NRRD}Data File: {named}\n"
    (folder / f"x{suffix}").write_text(text)
    assert "data file" in refusal(lambda: read_volume(folder / f"x{suffix}"))


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_data_file_beside_its_header_is_read(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a.raw").write_bytes(RAMP.tobytes())
    meta = META.replace("ElementType", "ElementSpacing = 1 1 2\nElementType")
    nrrd = f"{NRRD}spacings: 1 1 2\ndata file: a.raw\n"
    text = meta.format(3, "7 6 5", "a.raw") if suffix == ".mhd" else nrrd
    (tmp_path / f"x{suffix}").write_text(text)
    assert np.array_equal(read_volume(tmp_path / f"x{suffix}").array[0], RAMP)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii", ".nii.gz"])
def test_a_header_that_promises_a_terabyte_is_refused_before_memory_is_taken(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"x{suffix}"
    if "nii" in suffix:
        data = bytearray(hostile.encoded(".nii"))
        struct.pack_into("<4h", data, 40, 3, 32000, 32000, 512)
        path.write_bytes(hostile.gzip.compress(data) if suffix.endswith("gz") else data)
    elif suffix == ".mha":
        path.write_text(META.format(3, "32000 32000 512", "LOCAL"))
    else:
        path.write_text(NRRD.replace("7 6 5", "32000 32000 512") + "\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(lambda: read_volume(path), (RequestError, OutOfMemoryError))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_dicom_file_that_claims_more_than_it_has_is_refused_before_memory_is_taken(
    tmp_path: Path,
) -> None:
    data = hostile.dicom()
    version = data.index(b"\x02\x00\x01\x00OB")  # (0002,0001), in the meta information
    rows = data.index(b"\x28\x00\x10\x00\x02\x00\x00\x00") + 8  # (0028,0010)
    for at, wrong, words in (
        (version + 8, struct.pack("<I", 0xE0000000), "stated for the element (0002,0001)"),
        (rows, struct.pack("<H", 65535), "bytes of pixels"),
    ):
        (tmp_path / "a.dcm").write_bytes(data[:at] + wrong + data[at + len(wrong) :])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert words in refusal(lambda: read_volume(tmp_path))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
    (tmp_path / "a.dcm").write_bytes(data)
    assert np.array_equal(read_volume(tmp_path).array[0], RAMP[:1])


def test_a_nifti_whose_voxels_lie_elsewhere_is_refused(tmp_path: Path) -> None:
    for at, new, words in ((344, b"ni1\0", "another file"), (108, b"\xff\xff\x7f\x7f", "at byte")):
        data = bytearray(hostile.encoded(".nii"))
        data[at : at + 4] = new
        (tmp_path / "x.nii").write_bytes(data)
        assert words in refusal(lambda: read_volume(tmp_path / "x.nii"))


def test_the_content_does_not_decide_how_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(hostile.encoded(".nii"))
    refusal(lambda: read_volume(tmp_path / "x.png"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.nrrd")
    assert "no such file" in refusal(lambda: read_volume(tmp_path / "x.nrrd"))
    assert "pipe" in refusal(lambda: read_volume(tmp_path))
    assert "no such file" in refusal(lambda: Job.from_file(tmp_path / "x.nrrd"))


@pytest.mark.parametrize(
    "text",
    ['{"a": "\\ud800"}', "[" * 40 + "]" * 40, '"' + "x" * json_file.LIMIT + '"', "\ufeff\ufeff{}"],
)
def test_json_that_cannot_be_written_again_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    refusal(lambda: json_file.read(tmp_path / "x.json"))


def test_a_refusal_carries_no_control_characters() -> None:
    line = str(RequestError("found \x1b]0;title\x07 and \u202egpj and \udcff,\nexpected a name"))
    assert line == "found \\x1b]0;title\\x07 and \\u202egpj and \\udcff, expected a name"


def test_a_refusal_of_something_long_keeps_where_it_was_and_what_to_do() -> None:
    line = str(RequestError(f"x.csv, line 3: no such file {'x' * 5000}; write one that exists"))
    assert len(line) < 1300
    assert line.startswith("x.csv, line 3: no such file xx")
    assert line.endswith("xx; write one that exists")


def test_a_report_can_be_written_whatever_the_name_of_a_file(tmp_path: Path) -> None:
    write_report(tmp_path / "report.json", {"name": "\udcff.nrrd"})
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["name"] == "\\udcff.nrrd"
