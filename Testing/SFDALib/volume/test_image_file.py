"""What people's image files really hold: each situation is read right, or refused in one line.

Right means: every voxel has the value of a scene defined in mm, at the place where the file puts it
(see ``scene``).
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scene
import SimpleITK as sitk
from scene import GRID, around, image_on, meta, meta_place, nifti, nrrd, nrrd_place, ras

from SFDALib.errors import RequestError
from SFDALib.volume import itk, text_header
from SFDALib.volume import nifti as nifti_reader
from SFDALib.volume.dicom import stacks
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.image_file import ImageFile, read_volume
from SFDALib.volume.reading import Reading

TURN = scene.turned((12, -7, 20))

OBLIQUE = around((44, 44, 24), (1.6, 1.5, 2.6), tuple(TURN.ravel()))

FLIPPED = around((18, 40, 44), (3.0, 1.6, 1.5), (0, -1, 0, 0, 0, 1, 1, 0, 0))

GRIDS = {"axial": GRID, "oblique": OBLIQUE, "sagittal, left-handed": FLIPPED}

Write = Callable[[Path], Path]


@dataclass(frozen=True)
class Right:
    """A file that is read right; ``note`` are words of a note, None for no note at all."""

    write: Write
    reading: Reading = field(default_factory=Reading)
    note: str | None = None
    dice: float = 0.999
    value: float = 0.01


def file(name: str, content: bytes | Callable[[], bytes], **beside: bytes) -> Write:
    """A file, and others beside it (their names with _ for the dot)."""

    def write(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content() if callable(content) else content)
        for other, data in beside.items():
            (folder / other.replace("_", ".")).write_bytes(data)
        return folder / name

    return write


def sheared(geometry: Geometry, degrees: float) -> np.ndarray:
    """The RAS affine with the second axis leaning towards the first by some degrees, about the
    middle of the image.
    """
    affine = ras(geometry)
    size = (np.array(geometry.size) - 1) / 2
    middle = affine[:3, :3] @ size + affine[:3, 3]
    lean = geometry.spacing[1] * np.tan(np.deg2rad(degrees)) / geometry.spacing[0]
    affine[:3, 1] += lean * affine[:3, 0]
    affine[:3, 3] = middle - affine[:3, :3] @ size
    return affine


def scaled(geometry: Geometry, factor: float) -> Geometry:
    """The same numbers in another unit."""
    return replace(
        geometry,
        spacing=tuple(mm * factor for mm in geometry.spacing),
        origin=tuple(mm * factor for mm in geometry.origin),
    )


SAGITTAL = image_on(FLIPPED)

PLAIN = image_on(GRID)

NEAR_TOP = (PLAIN.astype(np.uint16) + 64_000).astype("<u2")

LEANING = sheared(GRID, 0.1)

RIGHT = {
    **{
        f"NIfTI, {name}": Right(file("a.nii.gz", gzip.compress(nifti(image_on(grid), grid))))
        for name, grid in GRIDS.items()
    },
    **{
        f"NRRD, {name}": Right(file("a.nrrd", nrrd(nrrd_place(grid), image_on(grid))))
        for name, grid in GRIDS.items()
    },
    **{
        f"MetaImage, {name}": Right(file("a.mha", meta(meta_place(grid), image_on(grid))))
        for name, grid in GRIDS.items()
    },
    "NIfTI, sform alone": Right(file("a.nii", nifti(SAGITTAL, FLIPPED, codes=(0, 2)))),
    "NIfTI, qform alone": Right(
        file("a.nii", nifti(SAGITTAL, FLIPPED, sform=np.zeros((4, 4)), codes=(1, 0)))
    ),
    "NIfTI, qform of an oblique grid": Right(
        file("a.nii", nifti(image_on(OBLIQUE), OBLIQUE, sform=np.zeros((4, 4)), codes=(1, 0)))
    ),
    "NIfTI, sform to a template beside the qform": Right(
        file("a.nii", nifti(PLAIN, GRID, sform=np.diag([1.3, 2, 2, 1]), codes=(1, 4))),
        note="the qform was taken",
    ),
    "NIfTI, big-endian": Right(file("a.nii", nifti(PLAIN.astype(">i2"), GRID))),
    "NIfTI, scaled": Right(
        file("a.nii", nifti(((PLAIN + 10) * 2).astype("<i2"), GRID, scaling=(0.5, -10)))
    ),
    "NIfTI, scaled by no number": Right(
        file("a.nii", nifti(PLAIN, GRID, scaling=(float("nan"), 7.0)))
    ),
    "NIfTI, int32 scaled": Right(
        file("a.nii", nifti((PLAIN.astype("<i4") + 3) * 1000, GRID, scaling=(0.001, -3)))
    ),
    "NIfTI, micrometres": Right(
        file("a.nii", nifti(PLAIN, scaled(GRID, 1000), unit=3)),
    ),
    "NIfTI, metres": Right(file("a.nii", nifti(PLAIN, scaled(GRID, 0.001), unit=1))),
    "NIfTI, no unit": Right(file("a.nii", nifti(PLAIN, GRID, unit=0))),
    "NIfTI, four dimensions of which the last is 1": Right(file("a.nii", nifti(PLAIN[None], GRID))),
    "NIfTI, a vector of one": Right(file("a.nii", nifti(PLAIN[None, None], GRID, intent=1007))),
    "NIfTI, 0.1 degrees off a right angle, no qform": Right(
        file("a.nii", nifti(PLAIN, GRID, sform=LEANING, codes=(0, 1))),
        note="off a right angle",
        dice=0.99,
    ),
    "NIfTI, 0.1 degrees off, oblique": Right(
        file("a.nii", nifti(image_on(OBLIQUE), OBLIQUE, sform=sheared(OBLIQUE, 0.1), codes=(0, 2))),
        note="off a right angle",
        dice=0.99,
    ),
    "NIfTI, 20 degrees off beside a qform": Right(
        file("a.nii", nifti(PLAIN, GRID, sform=sheared(GRID, 20), codes=(1, 1)))
    ),
    "NIfTI, pixdim that contradicts the sform, stated": Right(
        file("a.nii", nifti(PLAIN, GRID, pixdim=(1, 1, 1), codes=(0, 1))),
        Reading(spacing=GRID.spacing),
        note="as stated",
    ),
    "NIfTI, no pixdim, stated": Right(
        file("a.nii", nifti(PLAIN, GRID, pixdim=(0, 0, 0), codes=(0, 1))),
        Reading(spacing=GRID.spacing),
        note="as stated",
    ),
    "NIfTI, bytes after the gzip stream": Right(
        file("a.nii.gz", gzip.compress(nifti(PLAIN, GRID)) + b"\r\n-- uploaded --"),
        note="bytes after its gzip stream",
    ),
    "NIfTI, zeros after the gzip stream": Right(
        file("a.nii.gz", gzip.compress(nifti(PLAIN, GRID)) + bytes(512))
    ),
    "NIfTI, two gzip streams": Right(
        file(
            "a.nii.gz",
            gzip.compress(nifti(PLAIN, GRID)[:9000]) + gzip.compress(nifti(PLAIN, GRID)[9000:]),
        )
    ),
    "NIfTI, .nii.gz that is not compressed": Right(
        file("a.nii.gz", nifti(PLAIN, GRID)), note="not compressed"
    ),
    "NIfTI, .nii that is compressed": Right(file("a.nii", gzip.compress(nifti(PLAIN, GRID)))),
    "NRRD, centimetres": Right(
        file(
            "a.nrrd",
            nrrd({**nrrd_place(GRID, 10), "space units": '"cm" "cm" "cm"'}, PLAIN),
        )
    ),
    "NRRD, micrometres": Right(
        file("a.nrrd", nrrd({**nrrd_place(GRID, 1e-3), "space units": '"um" "um" "um"'}, PLAIN))
    ),
    "NRRD, metres of an oblique grid": Right(
        file(
            "a.nrrd",
            nrrd({**nrrd_place(OBLIQUE, 1e3), "space units": '"m" "m" "m"'}, image_on(OBLIQUE)),
        )
    ),
    "NRRD, units of axes beside directions": Right(
        file("a.nrrd", nrrd({**nrrd_place(GRID), "kinds": "domain domain domain"}, PLAIN))
    ),
    "NRRD, a measurement frame": Right(
        file(
            "a.nrrd",
            nrrd({**nrrd_place(GRID), "measurement frame": "(0,1,0) (1,0,0) (0,0,-1)"}, PLAIN),
        )
    ),
    "NRRD, big-endian": Right(file("a.nrrd", nrrd(nrrd_place(GRID), PLAIN, big_endian=True))),
    "NRRD, voxels in ./x": Right(
        file(
            "a.nhdr",
            nrrd({**nrrd_place(GRID), "data file": "./a.raw"}, PLAIN),
            a_raw=PLAIN.tobytes(),
        )
    ),
    "NRRD, deflated voxels beside it": Right(
        file(
            "a.nhdr",
            nrrd({**nrrd_place(GRID), "data file": "a.gz", "encoding": "gzip"}, PLAIN),
            a_gz=gzip.compress(PLAIN.tobytes()),
        )
    ),
    "NRRD, one channel of four dimensions": Right(
        file(
            "a.nrrd",
            nrrd(
                {
                    **nrrd_place(GRID),
                    "space directions": "none " + nrrd_place(GRID)["space directions"],
                    "kinds": "vector domain domain domain",
                },
                PLAIN[..., None],
            ),
        )
    ),
    "MetaImage, voxels in ./x": Right(
        file("a.mhd", meta(meta_place(GRID), PLAIN, "./a.raw"), a_raw=PLAIN.tobytes())
    ),
    "MetaImage, deflated voxels beside it": Right(
        file(
            "a.mhd",
            meta({**meta_place(GRID), "CompressedData": "True"}, PLAIN, "a.zraw"),
            a_zraw=zlib.compress(PLAIN.tobytes()),
        )
    ),
    "MetaImage, big-endian": Right(file("a.mha", meta(meta_place(GRID), PLAIN.astype(">i2")))),
    "MetaImage, centimetres": Right(
        file("a.mha", meta({**meta_place(scaled(GRID, 0.1)), "DistanceUnits": "cm"}, PLAIN))
    ),
    "MetaImage, no ElementSpacing, stated": Right(
        file("a.mha", meta({k: v for k, v in meta_place(GRID).items() if "Sp" not in k}, PLAIN)),
        Reading(spacing=GRID.spacing),
        note="as stated",
    ),
    "a spacing stated beside one of its own": Right(
        file("a.nrrd", nrrd(nrrd_place(GRID), PLAIN)), Reading(spacing=(9.0, 9.0, 9.0))
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_file_is_read_as_it_lies_in_the_patient(name: str, tmp_path: Path) -> None:
    case = RIGHT[name]
    path = case.write(tmp_path)
    volume = read_volume(path, case.reading)
    error = scene.error_of(volume)
    assert min(error.dice) >= case.dice and max(error.ml) < 0.03, error
    assert error.value <= case.value, error
    notes = " ".join(volume.notes)
    assert (case.note in notes) if case.note else notes == "", notes
    assert ImageFile(path, case.reading).header.geometry == volume.geometry
    assert volume.array.shape == (1, *volume.geometry.shape)


UNKNOWN = {"Offset": "0 0 0", "TransformMatrix": "1 0 0 0 1 0 0 0 1"}

REFUSED: dict[str, tuple[Write, str]] = {
    "NIfTI, 1 degree off a right angle": (
        file("a.nii", nifti(PLAIN, GRID, sform=sheared(GRID, 1.0), codes=(0, 1))),
        "not at right angles",
    ),
    "NIfTI, pixdim that contradicts the sform": (
        file("a.nii", nifti(PLAIN, GRID, pixdim=(1, 1, 1), codes=(0, 1))),
        "1 x 1 x 1 mm by pixdim and 1.6 x 1.5 x 3 mm by the sform",
    ),
    "NIfTI, several volumes of vectors": (
        file("a.nii", nifti(np.stack([np.stack([PLAIN] * 2)] * 3), GRID)),
        "5 dimensions",
    ),
    "NIfTI, a damaged second gzip stream": (
        file("a.nii.gz", gzip.compress(nifti(PLAIN, GRID)) + b"\x1f\x8b\x08\0garbage"),
        "damaged",
    ),
    "NIfTI, compressed and truncated": (
        file("a.nii.gz", gzip.compress(nifti(PLAIN, GRID))[:-40]),
        "damaged or truncated",
    ),
    "NRRD, no spacing": (file("a.nrrd", nrrd({}, PLAIN)), "--spacing"),
    "NRRD, spacings that are unknown": (
        file("a.nrrd", nrrd({"spacings": "nan nan nan"}, PLAIN)),
        "--spacing",
    ),
    "NRRD, extent alone": (
        file("a.nrrd", nrrd({"axis mins": "0 0 0", "axis maxs": "64 66 54"}, PLAIN)),
        "--spacing",
    ),
    "NRRD, an unknown unit": (
        file("a.nrrd", nrrd({**nrrd_place(GRID), "space units": '"parsec" "mm" "mm"'}, PLAIN)),
        'the unit "parsec"',
    ),
    "NRRD, voxels elsewhere": (
        file("a.nhdr", nrrd({**nrrd_place(GRID), "data file": "./../a.raw"}, PLAIN)),
        "in the same folder",
    ),
    "MetaImage, no ElementSpacing": (file("a.mha", meta(UNKNOWN, PLAIN)), "--spacing"),
    "float64 beyond single precision": (
        file("a.nrrd", nrrd(nrrd_place(GRID), PLAIN.astype("<f8") * 1e37)),
        "single precision",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_leaves_open_what_it_shows_is_refused_in_words(
    name: str, tmp_path: Path
) -> None:
    write, words = REFUSED[name]
    with pytest.raises(RequestError) as caught:
        read_volume(write(tmp_path / "folder"))
    assert words in str(caught.value) and "(0x" not in str(caught.value)


def test_large_unsigned_numbers_keep_their_values(tmp_path: Path) -> None:
    for name, content in {
        "a.nii": nifti(NEAR_TOP, GRID),
        "a.nrrd": nrrd(nrrd_place(GRID), NEAR_TOP),
        "a.mha": meta(meta_place(GRID), NEAR_TOP),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert np.array_equal(read_volume(tmp_path / name).array[0], NEAR_TOP)


def test_a_nifti_without_place_says_that_sides_are_assumed(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(PLAIN, GRID, codes=(0, 0)))
    volume = read_volume(tmp_path / "a.nii")
    assert "check left and right" in volume.notes[0]
    assert volume.geometry.spacing == pytest.approx(GRID.spacing)


def test_a_nrrd_without_spacing_takes_the_one_that_is_stated(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_bytes(nrrd({}, PLAIN))
    volume = read_volume(tmp_path / "a.nrrd", Reading(spacing=GRID.spacing))
    assert volume.geometry.spacing == pytest.approx(GRID.spacing)
    assert "as stated" in volume.notes[0] and "check left and right" in volume.notes[1]


def test_spacings_of_a_nrrd_have_their_unit(tmp_path: Path) -> None:
    fields = {"spacings": "0.16 0.15 0.3", "units": '"cm" "cm" "cm"'}
    (tmp_path / "a.nrrd").write_bytes(nrrd(fields, PLAIN))
    volume = read_volume(tmp_path / "a.nrrd")
    assert volume.geometry.spacing == pytest.approx(GRID.spacing)
    assert "check left and right" in volume.notes[0]


def test_qform_and_sform_of_different_places_are_noted(tmp_path: Path) -> None:
    moved = ras(GRID)
    moved[0, 3] += 20
    (tmp_path / "a.nii").write_bytes(nifti(PLAIN, GRID, sform=moved, codes=(1, 1)))
    volume = read_volume(tmp_path / "a.nii")
    assert "20 mm apart; the sform was taken" in volume.notes[0]
    assert volume.geometry.origin[0] == pytest.approx(GRID.origin[0] - 20)


def test_volumes_of_a_4d_nifti_are_channels(tmp_path: Path) -> None:
    both = np.stack([PLAIN, 1000 - PLAIN])
    for name, array in {"four.nii": both, "vector.nii": both[:, None]}.items():
        (tmp_path / name).write_bytes(nifti(array, GRID))
        assert np.array_equal(read_volume(tmp_path / name).array, both)


# --- One header ---------------------------------------------------------------------------------


def test_a_header_with_voxels_in_this_folder_consists_of_both(tmp_path: Path) -> None:
    path = RIGHT["NRRD, voxels in ./x"].write(tmp_path)
    assert ImageFile(path).files == (path, tmp_path / "a.raw")


def counted(monkeypatch: pytest.MonkeyPatch, *functions: tuple[Any, str]) -> Counter[str]:
    """Counts the calls of functions, each given as its module and name."""
    calls: Counter[str] = Counter()

    def watched(real: Callable, name: str) -> Callable:
        def call(*asked: Any) -> Any:
            calls[name] += 1
            return real(*asked)

        return call

    for module, name in functions:
        monkeypatch.setattr(module, name, watched(getattr(module, name), name))
    return calls


@pytest.mark.parametrize("kind", ["nrrd", "nhdr", "mha", "mhd", "nii.gz", "dicom"])
def test_guard_checksums_and_voxels_share_one_parsed_header(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"image.{kind}"
    if kind == "dicom":
        scene.write_series(path, scene.Slices(count=5))
    else:
        sitk.WriteImage(Volume(image_on(GRID)[None], GRID).to_sitk(), str(path))
    calls = counted(
        monkeypatch,
        (text_header, "read_fields"),
        (itk, "opened"),
        (nifti_reader, "read_header"),
        (stacks, "read_frames"),
    )
    image = ImageFile(path)
    before = image.checksums()
    assert image.header.stored_bytes and image.header.geometry.size
    volume = image.read()
    assert image.checksums() == before
    assert volume.geometry == image.header.geometry
    text = {"read_fields": 1, "opened": 1}
    # of DICOM each file's header; ITK reads one for the type of voxels, then decodes each file
    expected = {"nii.gz": {"read_header": 1}, "dicom": {"read_frames": 5, "opened": 1 + 5}}
    assert calls == expected.get(kind, text)


def test_a_header_that_changes_after_the_checksums_shows_in_the_next_ones(tmp_path: Path) -> None:
    path = tmp_path / "image.mhd"
    sitk.WriteImage(Volume(image_on(GRID)[None], GRID).to_sitk(), str(path))
    image = ImageFile(path)
    before = image.checksums()
    assert list(before) == [path, tmp_path / "image.raw"] == list(image.files)
    path.write_bytes(path.read_bytes().replace(b"ElementSpacing = ", b"ElementSpacing = 1"))
    after = image.checksums()
    assert [before[file] == after[file] for file in before] == [False, True]
