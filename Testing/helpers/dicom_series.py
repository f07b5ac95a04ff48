"""DICOM series as scanners and programs write them, into a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import scene
from pydicom.dataset import Dataset
from scene import Slices, enhanced, save, write_series


def series(slices: Slices, change: Callable[[Dataset, int], Dataset | None] = lambda d, k: d):
    return lambda folder: write_series(folder, slices, change)


def one(data: Callable[[], Dataset], name: str = "enhanced.dcm") -> Callable[[Path], Path]:
    return lambda folder: save(data(), folder / name).parent


def setting(**values: object) -> Callable[[Dataset, int], Dataset]:
    """Change elements of every file: to None deletes."""

    def change(data: Dataset, k: int) -> Dataset:
        for name, value in values.items():
            if value is None:
                del data[name]
            else:
                setattr(data, name, value(k) if callable(value) else value)
        return data

    return change


def both(*writers: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        for number, writer in enumerate(writers):
            writer(folder / f"part{number}")
            for file in (folder / f"part{number}").iterdir():
                file.rename(folder / f"{number}-{file.name}")
            (folder / f"part{number}").rmdir()
        return folder

    return write


def with_copy(folder: Path) -> Path:
    write_series(folder, Slices())
    first = sorted(folder.iterdir())[0]
    shutil.copy(first, folder / "copy of it.dcm")
    return folder


def with_rubbish(folder: Path) -> Path:
    write_series(folder, Slices())
    (folder / "._s000-0.dcm").write_bytes(b"\0\5\26\7" + bytes(200))
    (folder / ".DS_Store").write_bytes(b"x" * 300)
    (folder / "README.txt").write_text("exported on Tuesday\n" * 20)
    (folder / "thumbnail.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def beside_other_objects(folder: Path) -> Path:
    """A segmentation, a dose and a structured report of the same study."""
    write_series(folder, Slices())
    for number, kind in enumerate(("66.4", "481.2", "88.11")):
        other = enhanced(replace(Slices(), count=3, series=f"1.2.3.{number}"))
        other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = (
            f"1.2.840.10008.5.1.4.1.1.{kind}"
        )
        if kind == "88.11":
            for name in ("Rows", "Columns", "PixelData"):
                del other[name]
        save(other, folder / f"other{number}.dcm")
    return folder


def compressed(folder: Path) -> Path:
    """RLE, lossless."""

    def change(data: Dataset, k: int) -> Dataset:
        data.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
        return data

    return write_series(folder, Slices(), change)


def big_endian(data: Dataset, k: int) -> Dataset:
    pixels = np.frombuffer(data.PixelData, "<i2").astype(">i2")
    data.PixelData = pixels.tobytes()
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.2"
    return data


def nuclear(step: float) -> Callable[[], Dataset]:
    """A reconstructed SPECT: the first slice's place, and steps along the normal."""

    def make() -> Dataset:
        slices = replace(Slices(), modality="NM", kind="1.2.840.10008.5.1.4.1.1.20")
        order = range(18) if step > 0 else reversed(range(18))
        data = scene.dataset(slices, np.stack([slices.stored(k) for k in order]), 1)
        data.NumberOfFrames, data.PixelSpacing = 18, list(slices.spacing[::-1])
        data.SpacingBetweenSlices, data.FrameIncrementPointer = step, 0x00540080
        detector = Dataset()
        detector.ImagePositionPatient = list(slices.position(0 if step > 0 else 17))
        detector.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.DetectorInformationSequence = [detector]
        return data

    return make
