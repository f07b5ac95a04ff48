"""What people's DICOM really holds: each situation is read right, or refused in one line.

Right means: every voxel has the value of a scene defined in mm, at the place where the file puts it
(see ``scene``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import scene
from dicom_series import (
    beside_other_objects,
    big_endian,
    both,
    compressed,
    nuclear,
    one,
    series,
    setting,
    with_copy,
    with_rubbish,
)
from pydicom.dataset import Dataset
from scene import CT, ENHANCED_MR, ENHANCED_PET, MR, PET, Slices, enhanced, save, write_series

from SFDALib.errors import RequestError
from SFDALib.volume.image_file import ImageFile, read_volume
from SFDALib.volume.reading import Reading

ROTATION = scene.turned((12, -7, 20))
SLOPES = tuple(0.031 + 0.004 * (k % 5) for k in range(18))
SCOUT = Slices(
    axes=((0, 1, 0), (0, 0, -1)), step=(3.0, 0, 0), count=1, description="scout", number=1
)
SCOUT = replace(SCOUT, series="1.2.826.0.1.3680043.8.498.7")
T2 = Slices(series="1.2.826.0.1.3680043.8.498.8", description="T2", number=3, modality="MR")


@dataclass(frozen=True)
class Right:
    """A folder that is read right.

    Args:
        dice, ml, value: how far it may be off.
        note: words of a note; None for no note at all.
    """

    write: Callable[[Path], Path]
    reading: Reading = field(default_factory=Reading)
    dice: float = 0.999
    ml: float = 0.03
    value: float = 0.51
    note: str | None = None


def _moved(data: Dataset, k: int) -> Dataset:
    """The slice of a patient whose table moved by 1.6 mm (one pixel) to the left from slice 9."""
    moved = replace(Slices(), step=(0, 0, 3.0))
    columns, rows = moved.size
    i, j = np.meshgrid(np.arange(columns), np.arange(rows))
    places = moved.position(k) + np.stack([1.6 * i + 1.6 * (k > 8), 1.5 * j, 0.0 * i], axis=-1)
    data.ImagePositionPatient = [float(mm) for mm in places[0, 0]]
    data.PixelData = scene.VALUES[scene.labels_at(places)].astype("<i2").tobytes()
    return data


def _twelve(data: Dataset) -> Dataset:
    """500 less than the scene in 12 bits with a sign; the other four bits hold an overlay."""
    stored = (np.frombuffer(data.PixelData, "<i2").astype(int) - 500) & 0xFFF | 0x8000
    data.BitsStored, data.HighBit, data.PixelRepresentation = 12, 11, 1
    data.RescaleSlope, data.RescaleIntercept = 1, 500
    data.PixelData = stored.astype("<u2").tobytes()
    return data


LEFT_DECUBITUS = replace(Slices(), axes=((0, 1, 0), (-1, 0, 0)), size=(44, 40))
RIGHT = {
    "plain": Right(series(Slices())),
    "oblique": Right(series(scene.oblique(Slices(count=22), ROTATION)), ml=0.04),
    "sagittal": Right(
        series(replace(SCOUT, count=26, step=(1.9, 0, 0), size=(44, 40))),
    ),
    "coronal": Right(
        series(replace(Slices(), axes=((1, 0, 0), (0, 0, -1)), step=(0, 2.1, 0), count=28))
    ),
    "decubitus": Right(series(LEFT_DECUBITUS)),
    "feet first: slices from above": Right(series(replace(Slices(), step=(0, 0, -3.0)))),
    "gantry tilt": Right(
        series(replace(Slices(), step=scene.tilted(20))), dice=0.94, note="tilted by 20 degrees"
    ),
    "gantry tilt the other way, 4.4 mm": Right(
        series(replace(Slices(), step=scene.tilted(-20, 4.4), count=14)),
        dice=0.94,
        note="tilted by 20 degrees",
    ),
    "gantry tilt of 1 degree": Right(
        series(replace(Slices(), step=scene.tilted(1))), dice=0.94, note="gantry tilt"
    ),
    "gantry tilt of an oblique series": Right(
        series(scene.oblique(replace(Slices(count=22), step=scene.tilted(15)), ROTATION)),
        dice=0.94,
        ml=0.04,
        note="tilted by 15 degrees",
    ),
    "a table that moved within the plane": Right(
        series(
            Slices(),
            _moved,
        ),
        dice=0.97,
        note="shifted in their plane",
    ),
    "rescale of every slice, the first with a whole slope": Right(
        series(replace(Slices(), slopes=(1.0, *SLOPES[1:]), kind=PET, modality="PT"))
    ),
    "rescale of every slice with an intercept": Right(
        series(replace(Slices(), slopes=SLOPES, intercepts=(-5.0,) * 18, kind=PET, modality="PT"))
    ),
    "one rescale of all, with an intercept": Right(
        series(replace(Slices(), slopes=(1.0,) * 18, intercepts=(-1024.0,) * 18))
    ),
    "unsigned in some slices, signed in others": Right(
        series(
            Slices(),
            lambda data, k: setting(PixelRepresentation=k % 2)(data, k),
        )
    ),
    "unsigned, near the largest": Right(
        series(replace(Slices(), slopes=(0.014,) * 18, signed=False))
    ),
    "MR with a rescale": Right(
        series(replace(Slices(), slopes=(0.5,) * 18, kind=MR, modality="MR"))
    ),
    "negative Spacing Between Slices": Right(
        series(replace(Slices(), kind=MR), setting(SpacingBetweenSlices=-3.0))
    ),
    "wrong Slice Thickness": Right(series(Slices(), setting(SliceThickness=10.0))),
    "no Instance Number": Right(series(Slices(), setting(InstanceNumber=None))),
    "Instance Numbers in another order": Right(
        series(Slices(), setting(InstanceNumber=lambda k: (5 * k) % 18))
    ),
    "positions rounded to 0.1 mm": Right(
        series(
            replace(Slices(), step=(0, 0, 2.15), count=25),
            lambda data, k: setting(
                ImagePositionPatient=[f"{float(mm):.1f}" for mm in data.ImagePositionPatient]
            )(data, k),
        ),
        dice=0.97,
        ml=0.05,
    ),
    "a copy of a file": Right(with_copy, note="copies of others"),
    "hidden files and other things": Right(with_rubbish),
    "a segmentation, a dose and a report beside it": Right(beside_other_objects),
    "a scout beside it": Right(both(series(SCOUT), series(Slices())), note="only complete volume"),
    "a scout in the same series": Right(
        both(series(replace(SCOUT, series=Slices().series)), series(Slices())),
        note="only complete volume",
    ),
    "a slice of another size at the end": Right(
        both(series(replace(Slices(), count=1, size=(20, 20))), series(Slices())),
        note="only complete volume",
    ),
    "a second series that lacks a slice": Right(
        both(series(T2, lambda data, k: None if k == 7 else data), series(Slices())),
        note="only complete volume",
    ),
    "two series, one chosen by its number": Right(
        both(series(replace(T2, slopes=(2.0,) * 18, intercepts=(7.0,) * 18)), series(Slices())),
        Reading(series=("1",)),
    ),
    "two series, one chosen by its UID": Right(
        both(series(T2), series(Slices())), Reading(series=(Slices().series,))
    ),
    "two series, one chosen by its description": Right(
        both(series(T2), series(Slices())), Reading(series=("axial",))
    ),
    "two time points, the first chosen": Right(
        both(
            series(Slices(), setting(AcquisitionNumber=1)),
            series(
                replace(Slices(), slopes=(1.0,) * 18, intercepts=(300.0,) * 18),
                setting(AcquisitionNumber=2, SOPInstanceUID=lambda k: f"1.2.3.4.{k}"),
            ),
        ),
        Reading(series=("1",)),
    ),
    "RLE": Right(compressed),
    "big-endian": Right(series(Slices(), big_endian)),
    "no Pixel Spacing, stated": Right(
        series(Slices(), setting(PixelSpacing=None)),
        Reading(spacing=(1.6, 1.5, 9.9)),
        note="as stated",
    ),
    "Imager Pixel Spacing alone": Right(
        series(Slices(), setting(PixelSpacing=None, ImagerPixelSpacing=[1.5, 1.6]))
    ),
    "spacing stated beside one of its own": Right(series(Slices()), Reading(spacing=(9, 9, 9))),
    "enhanced": Right(one(lambda: enhanced(replace(Slices(), kind=ENHANCED_MR)))),
    "enhanced, frames out of order": Right(
        one(
            lambda: enhanced(
                replace(Slices(), kind=ENHANCED_MR), order=[(5 * k) % 18 for k in range(18)]
            )
        )
    ),
    "enhanced, frames from above": Right(
        one(lambda: enhanced(replace(Slices(), kind=ENHANCED_MR), order=range(17, -1, -1)))
    ),
    "enhanced, a rescale of every frame": Right(
        one(lambda: enhanced(replace(Slices(), kind=ENHANCED_PET, slopes=SLOPES)))
    ),
    "enhanced, a rescale of all": Right(
        one(lambda: enhanced(replace(Slices(), kind=ENHANCED_PET, slopes=(0.5,) * 18)))
    ),
    "enhanced ultrasound, a rescale that GDCM leaves alone": Right(
        one(
            lambda: enhanced(
                replace(Slices(), kind="1.2.840.10008.5.1.4.1.1.6.2", slopes=(0.5,) * 18)
            )
        )
    ),
    "enhanced, the first of two phases": Right(
        one(lambda: enhanced(replace(Slices(), kind=ENHANCED_MR), phases=2)), Reading(series=("1",))
    ),
    "enhanced, gantry tilt": Right(
        one(
            lambda: enhanced(
                replace(Slices(), kind="1.2.840.10008.5.1.4.1.1.2.1", step=scene.tilted(18))
            )
        ),
        dice=0.94,
        note="tilted by 18 degrees",
    ),
    "enhanced, oblique": Right(
        one(lambda: enhanced(scene.oblique(replace(Slices(count=22), kind=ENHANCED_MR), ROTATION))),
        ml=0.04,
    ),
    "nuclear medicine": Right(one(nuclear(3.0))),
    "nuclear medicine, from above": Right(one(nuclear(-3.0))),
    "12 bits with a sign, and others above them": Right(series(Slices(), lambda d, k: _twelve(d))),
    "a file without an ending": Right(
        lambda folder: save(enhanced(replace(Slices(), kind=ENHANCED_MR)), folder / "IM0001")
    ),
    "a file by itself": Right(
        lambda folder: save(enhanced(replace(Slices(), kind=ENHANCED_MR)), folder / "one.dcm")
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_dicom_is_read_as_it_lies_in_the_patient(name: str, tmp_path: Path) -> None:
    case = RIGHT[name]
    path = case.write(tmp_path / "dicom")
    volume = read_volume(path, case.reading)
    error = scene.error_of(volume)
    assert min(error.dice) >= case.dice, error
    assert max(error.ml) <= case.ml, error
    assert error.value <= case.value, error
    notes = " ".join(volume.notes)
    assert (case.note in notes) if case.note else notes == "", notes
    assert ImageFile(path, case.reading).header.geometry == volume.geometry


REFUSED = {
    "a slice is missing": (
        series(Slices(), lambda data, k: None if k == 8 else data),
        "3 to 6 mm apart",
    ),
    "gaps that grow": (
        series(
            Slices(),
            lambda data, k: setting(
                ImagePositionPatient=[*Slices().position(k)[:2], 3.0 * k + 0.02 * k * k]
            )(data, k),
        ),
        "expected an even spacing",
    ),
    "no Pixel Spacing": (series(Slices(), setting(PixelSpacing=None)), "--spacing"),
    "no Image Position": (
        series(Slices(), setting(ImagePositionPatient=None)),
        "without Image Position and Orientation",
    ),
    "two whole series": (both(series(Slices()), series(T2)), '2: "T2" (MR, 18 images of 40x44)'),
    "two images at every place": (
        both(
            series(Slices()),
            series(
                Slices(), setting(SOPInstanceUID=lambda k: f"1.2.3.4.{k}", PixelRepresentation=0)
            ),
        ),
        "images at the same position",
    ),
    "two time points": (
        both(
            series(Slices(), setting(AcquisitionTime="101010")),
            series(
                Slices(),
                setting(AcquisitionTime="101510", SOPInstanceUID=lambda k: f"1.2.3.4.{k}"),
            ),
        ),
        "2 volumes in one DICOM series",
    ),
    "two phases in one enhanced file": (
        one(lambda: enhanced(replace(Slices(), kind=ENHANCED_MR), phases=2)),
        "TemporalPositionIndex 2",
    ),
    "an enhanced file that lacks a frame": (
        one(
            lambda: enhanced(
                replace(Slices(), kind=ENHANCED_MR), order=[k for k in range(18) if k != 5]
            )
        ),
        "3 to 6 mm apart",
    ),
    "frames that do not say where they lie": (
        one(lambda: _cine()),
        "without Image Position and Orientation",
    ),
    "nothing but a report": (
        lambda folder: _report(folder),
        "no DICOM series",
    ),
    "a truncated file": (lambda folder: _truncated(folder), "truncated or damaged"),
    "a mosaic": (
        series(
            replace(Slices(), count=2), setting(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
        ),
        "mosaic",
    ),
    "a table of values": (series(Slices(), lambda data, k: _with_table(data)), "Modality LUT"),
    "positions in no order at all": (
        series(
            Slices(),
            lambda data, k: setting(ImagePositionPatient=[500.0 * (k % 3), 0, 3.0 * k])(data, k),
        ),
        "several scans",
    ),
}


def _cine() -> Dataset:
    data = enhanced(replace(Slices(), modality="US", kind="1.2.840.10008.5.1.4.1.1.3.1"))
    del data.PerFrameFunctionalGroupsSequence, data.SharedFunctionalGroupsSequence
    data.PixelSpacing = [1.5, 1.6]
    return data


def _with_table(data: Dataset) -> Dataset:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [1000, 0, 16], "US"
    table.LUTData = (np.arange(1000) * 2).astype("<u2").tobytes()
    data.ModalityLUTSequence = [table]
    return data


def _report(folder: Path) -> Path:
    data = enhanced(replace(Slices(), count=2))
    for name in ("Rows", "Columns", "PixelData"):
        del data[name]
    return save(data, folder / "report.dcm").parent


def _truncated(folder: Path) -> Path:
    write_series(folder, Slices())
    file = sorted(folder.iterdir())[4]
    file.write_bytes(file.read_bytes()[:-900])
    return folder


@pytest.mark.parametrize("name", REFUSED)
def test_dicom_that_is_no_whole_volume_is_refused_in_words(name: str, tmp_path: Path) -> None:
    write, words = REFUSED[name]
    with pytest.raises(RequestError) as caught:
        read_volume(write(tmp_path / "dicom"))
    line = str(caught.value)
    assert words in line and str(tmp_path) in line and "(0x" not in line


def test_the_second_phase_of_an_enhanced_file_is_its_own(tmp_path: Path) -> None:
    data = enhanced(replace(Slices(), kind=ENHANCED_MR), phases=2)
    path = save(data, tmp_path / "dicom/e.dcm").parent
    first, second = (read_volume(path, Reading(series=(word,))).array for word in "12")
    assert np.array_equal(first + 1000, second)


def test_images_without_a_place_are_taken_by_their_numbers_with_a_stated_spacing(
    tmp_path: Path,
) -> None:
    change = setting(ImagePositionPatient=None, ImageOrientationPatient=None)
    path = write_series(tmp_path / "dicom", Slices(), change)
    volume = read_volume(path, Reading(spacing=(1.6, 1.5, 3.0)))
    assert "left and right are assumed" in volume.notes[0]
    there = replace(volume.geometry, origin=tuple(Slices().first))
    assert min(scene.error_of(replace(volume, geometry=there)).dice) > 0.999


@pytest.mark.parametrize("word", ["3", "9", "nothing", "1.2"])
def test_a_series_that_is_not_there_is_refused_with_the_list(word: str, tmp_path: Path) -> None:
    both(series(Slices()), series(T2))(tmp_path / "dicom")
    with pytest.raises(RequestError) as caught:
        read_volume(tmp_path / "dicom", Reading(series=(word,)))
    assert f'no "{word}"' in str(caught.value) and '1: "axial" (CT, 18' in str(caught.value)


def test_descriptions_in_notes_carry_no_control_characters(tmp_path: Path) -> None:
    both(series(replace(SCOUT, description="a\x1b]0;x\x07")), series(Slices()))(tmp_path / "d")
    notes = " ".join(read_volume(tmp_path / "d").notes)
    assert "only complete volume" in notes and "\x1b" not in notes


def test_the_header_of_a_series_has_its_true_extent(tmp_path: Path) -> None:
    """What is asked before the voxels are read: whether they fit into memory."""
    write_series(tmp_path / "dicom", replace(Slices(), step=(0, 0, 5.0), kind=CT))
    header = ImageFile(tmp_path / "dicom").header
    assert header.geometry.size == (40, 44, 18)
    assert header.geometry.spacing == pytest.approx((1.6, 1.5, 5.0))
    assert header.stored_bytes == 40 * 44 * 18 * 2


def test_one_image_is_a_picture_whose_size_may_be_unknown(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "dicom", replace(Slices(), count=1))
    volume = read_volume(folder)
    assert volume.geometry.size == (40, 44, 1) and not volume.notes
    assert volume.geometry.spacing == pytest.approx((1.6, 1.5, 3.0))
    write_series(tmp_path / "no", replace(Slices(), count=1), setting(PixelSpacing=None))
    assert "no Pixel Spacing" in " ".join(read_volume(tmp_path / "no").notes)
    stated = read_volume(tmp_path / "no", Reading(spacing=(0.2, 0.3, 1.0)))
    assert stated.geometry.spacing[:2] == pytest.approx((0.2, 0.3))


@pytest.mark.parametrize("kind", ["RGB", "palette"])
def test_colours_of_a_dicom_file_are_channels(kind: str, tmp_path: Path) -> None:
    def change(data: Dataset, k: int) -> Dataset:
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit, data.PixelRepresentation = 7, 0
        labels = scene.labels_at(_places(k))
        if kind == "RGB":
            data.SamplesPerPixel, data.PhotometricInterpretation = 3, "RGB"
            data.PlanarConfiguration = 0
            data.PixelData = np.stack([labels * 100, labels * 50, 9 + labels], -1).tobytes()
        else:
            data.PhotometricInterpretation = "PALETTE COLOR"
            table = np.arange(256) % 3
            for colour, values in (
                ("Red", table * 100),
                ("Green", table * 50),
                ("Blue", 9 + table),
            ):
                setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
                words = (values * 257).astype("<u2").tobytes()
                setattr(data, f"{colour}PaletteColorLookupTableData", words)
            data.PixelData = labels.tobytes()
        return data

    folder = write_series(tmp_path / "dicom", Slices(), change)
    volume = read_volume(folder)
    truth = scene.labels_on(volume.geometry)
    expected = np.stack([truth * 100, truth * 50, 9 + truth])
    scale = 257 if volume.array.max() > 255 else 1
    assert np.array_equal(volume.array, expected * scale)


def _places(k: int) -> np.ndarray:
    slices = Slices()
    i, j = np.meshgrid(np.arange(40), np.arange(44))
    return slices.position(k) + np.stack([1.6 * i, 1.5 * j, 0.0 * i], axis=-1)


def test_inverted_grey_is_turned(tmp_path: Path) -> None:
    """MONOCHROME1: large values are dark; the decoder turns them, as it did."""

    def change(data: Dataset, k: int) -> Dataset:
        data.PhotometricInterpretation = "MONOCHROME1"
        data.PixelRepresentation = 0
        data.PixelData = (65535 - np.frombuffer(data.PixelData, "<u2")).tobytes()
        return data

    error = scene.error_of(read_volume(write_series(tmp_path / "dicom", Slices(), change)))
    assert min(error.dice) > 0.999 and error.value == 0
