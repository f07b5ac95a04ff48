"""Images of every format keep their voxels and their place, and bad files are refused."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from grids import AS_IS, DIRECTIONS, image, matrix, noise, oracle, refusal, tilted
from heads import OBLIQUE, geometry_around_head, head
from PIL import Image

from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.image_file import read_labels, read_volume
from SFDALib.volume.input_spec import InputSpec


def matrix_of_file(path: Path) -> np.ndarray:
    image = sitk.ReadImage(str(path))
    columns = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    return np.column_stack([columns, image.GetOrigin()])


def write(path: Path, image: sitk.Image, compress: bool = False) -> Path:
    sitk.WriteImage(image, str(path), compress)
    return path


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_every_format_keeps_voxels_and_place(tmp_path: Path, suffix: str, name: str) -> None:
    geometry = Geometry((7, 6, 5), (0.7, 0.9, 4.2), (-81.5, 33.25, 1e3), DIRECTIONS[name])
    array = noise((1, 5, 6, 7))
    path = write(tmp_path / f"image{suffix}", Volume(array, geometry).to_sitk())
    volume = read_volume(path)
    assert np.array_equal(volume.array, array)
    tolerance = 2e-4 if ".nii" in suffix else 1e-6  # NIfTI keeps a quaternion in single precision
    np.testing.assert_allclose(matrix(volume.geometry), matrix(geometry), rtol=0, atol=tolerance)
    np.testing.assert_allclose(matrix(volume.geometry), matrix_of_file(path), rtol=0, atol=1e-12)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg"])
def test_a_grey_picture_has_one_channel_and_one_slice(tmp_path: Path, suffix: str) -> None:
    rows = np.tile(np.arange(40, dtype=np.uint8) * 6, (30, 1))
    path = tmp_path / f"grey{suffix}"
    Image.fromarray(rows).save(path, quality=100)
    volume = read_volume(path)
    assert volume.array.shape == (1, 1, 30, 40)
    assert volume.geometry.size == (40, 30, 1)
    np.testing.assert_allclose(volume.array[0, 0], rows, atol=2)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_colour_picture_has_three_channels_in_the_order_red_green_blue(
    tmp_path: Path, suffix: str
) -> None:
    rgb = np.zeros((32, 48, 3), np.uint8)
    rgb[:] = (200, 100, 40)
    rgb[:16] = (220, 120, 60)
    path = tmp_path / f"frame{suffix}"
    Image.fromarray(rgb).save(path)
    array = read_volume(path).array
    assert array.shape == (3, 1, 32, 48)
    np.testing.assert_allclose(array[:, 0, 24, 24], (200, 100, 40), atol=4)


def test_the_alpha_channel_of_a_picture_is_no_intensity(tmp_path: Path) -> None:
    rgb = noise((20, 20, 3)).astype(np.uint8)
    alpha = np.full((20, 20, 1), 255, np.uint8)
    Image.fromarray(np.concatenate([rgb, alpha], axis=2)).save(tmp_path / "frame.png")
    array = read_volume(tmp_path / "frame.png").array
    assert np.array_equal(array[:, 0], np.moveaxis(rgb, -1, 0))


def test_a_2d_image_keeps_its_place_in_the_plane(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(noise((6, 8)))
    image.SetSpacing((0.5, 0.75))
    image.SetOrigin((10, -20))
    image.SetDirection((0, -1, 1, 0))
    geometry = read_volume(write(tmp_path / "plane.nrrd", image)).geometry
    assert geometry.size == (8, 6, 1)
    assert geometry.spacing == (0.5, 0.75, 1.0)
    assert geometry.origin == (10, -20, 0)
    assert geometry.direction == (0, -1, 0, 1, 0, 0, 0, 0, 1)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_the_components_of_a_vector_image_are_channels(tmp_path: Path, suffix: str) -> None:
    geometry = geometry_around_head((7, 6, 5), (2, 3, 4), OBLIQUE)
    array = noise((3, 5, 6, 7)).astype(np.float32)
    volume = read_volume(write(tmp_path / f"v{suffix}", Volume(array, geometry).to_sitk()))
    assert np.array_equal(volume.array, array)
    np.testing.assert_allclose(matrix(volume.geometry), matrix(geometry), atol=1e-4)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_the_fourth_dimension_is_the_channels(tmp_path: Path, suffix: str) -> None:
    geometry = geometry_around_head((7, 6, 5), (2, 3, 4), OBLIQUE)
    array = noise((2, 5, 6, 7))
    parts = [Volume(channel[None], geometry).to_sitk() for channel in array]
    volume = read_volume(write(tmp_path / f"four{suffix}", sitk.JoinSeries(parts)))
    assert np.array_equal(volume.array, array)
    np.testing.assert_allclose(matrix(volume.geometry), matrix(geometry), atol=1e-4)


def test_several_files_on_one_grid_are_the_channels_of_one_image(tmp_path: Path) -> None:
    geometry = Geometry((7, 6, 5), (0.7, 0.9, 4.2), (-81.5, 33.25, 1e3), tilted("PIL"))
    array = noise((2, 5, 6, 7))
    t1, t2 = (Volume(channel[None], geometry).to_sitk() for channel in array)
    paths = [write(tmp_path / "t1.nrrd", t1), write(tmp_path / "t2.nii.gz", t2)]
    assert np.array_equal(read_volume(paths).array, array)


def test_files_on_different_grids_are_refused_as_channels(tmp_path: Path) -> None:
    geometry = geometry_around_head((7, 6, 5), (2, 3, 4))
    moved = geometry_around_head((7, 6, 5), (2, 3, 4.01))
    array = noise((1, 5, 6, 7))
    first = write(tmp_path / "t1.nrrd", Volume(array, geometry).to_sitk())
    second = write(tmp_path / "t2.nrrd", Volume(array, moved).to_sitk())
    line = refusal(lambda: read_volume([first, second]))
    assert str(second) in line and str(first) in line and "resample" in line


def write_series(folder: Path, uid: str, array: np.ndarray, missing: tuple[int, ...] = ()) -> None:
    """A tilted DICOM series with 0.8 x 0.9 mm pixels, 2.5 mm apart, its first at (10, 20, 30).

    Slices are written in an order that is not theirs in space.
    """
    folder.mkdir(exist_ok=True)
    direction = np.array(tilted("LPS")).reshape(3, 3)
    for k in reversed(range(len(array))):
        if k in missing:
            continue
        image = sitk.GetImageFromArray(array[k][None])
        image.SetSpacing((0.8, 0.9, 2.5))
        position = np.array((10, 20, 30)) + direction[:, 2] * 2.5 * k
        for tag, value in {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"{uid}.{k + 1}",
            "0008|0060": "MR",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.1",
            "0020|000e": uid,
            "0020|0013": str(k + 1),
            "0020|0032": "\\".join(f"{mm:.6f}" for mm in position),
            "0020|0037": "\\".join(f"{x:.10f}" for x in direction[:, :2].T.ravel()),
        }.items():
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{uid}-{len(array) - k}.dcm"))
        writer.Execute(image)


SERIES = ("1.2.826.0.1.3680043.2.1125.1.1", "1.2.826.0.1.3680043.2.1125.1.2")


def test_a_folder_with_one_dicom_series_is_a_volume(tmp_path: Path) -> None:
    array = noise((6, 8, 7))
    write_series(tmp_path / "mr", SERIES[0], array)
    volume = read_volume(tmp_path / "mr")
    expected = Geometry((7, 8, 6), (0.8, 0.9, 2.5), (10, 20, 30), tilted("LPS"))
    assert np.array_equal(volume.array[0], array)
    np.testing.assert_allclose(matrix(volume.geometry), matrix(expected), atol=1e-5)


def test_a_folder_with_several_dicom_series_is_refused_with_a_list_of_them(tmp_path: Path) -> None:
    for uid in SERIES:
        write_series(tmp_path / "mr", uid, noise((4, 8, 7)))
    line = refusal(lambda: read_volume(tmp_path / "mr"))
    assert "2 DICOM series" in line and all(uid in line for uid in SERIES)


def test_a_dicom_series_with_a_missing_slice_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "mr", SERIES[0], noise((6, 8, 7)), missing=(2,))
    assert "2.5 to 5 mm apart" in refusal(lambda: read_volume(tmp_path / "mr"))


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    assert "no DICOM series" in refusal(lambda: read_volume(tmp_path))


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_label_map_lies_on_the_grid_of_the_input_file(tmp_path: Path, name: str) -> None:
    geometry = geometry_around_head((36, 40, 14), (2.5, 2.2, 6.0), DIRECTIONS[name])
    path = write(tmp_path / "head.nrrd", head(geometry).to_sitk())
    volume = read_volume(path)
    conformed = conform(volume, InputSpec(1, "LPS", (3.0, 3.0, 3.0), AS_IS, is_2d=False))
    labels = Volume(conformed.restore_labels(oracle(conformed))[None], conformed.input_geometry)
    back = write(tmp_path / "labels.nrrd", labels.to_sitk())
    np.testing.assert_allclose(matrix_of_file(back), matrix_of_file(path), rtol=0, atol=1e-6)
    assert read_labels(back).array.shape == volume.array.shape


def edited(path: Path, old: bytes, new: bytes) -> Path:
    """The file with a part of its header replaced."""
    content = write(path, image()).read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    return path


def nifti_with(path: Path, offset: int, packed: bytes) -> Path:
    """A NIfTI-1 file with some bytes of its header replaced."""
    content = bytearray(write(path.with_suffix("").with_suffix(".nii"), image()).read_bytes())
    content[offset : offset + len(packed)] = packed
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(lambda: read_volume(tmp_path / "none.nrrd"))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.png", "a.jpg"])
@pytest.mark.parametrize("content", [b"", b"hello world\n", b"hello world\n" * 100], ids=len)
def test_a_text_file_with_the_name_of_an_image_is_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    line = refusal(lambda: read_volume(tmp_path / name))
    assert line.startswith(str(tmp_path / name)) and "expected" in line


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.tiff").write_bytes(b"II*\0")
    assert 'the ending ".tiff"' in refusal(lambda: read_volume(tmp_path / "image.tiff"))


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_a_truncated_volume_is_refused(
    tmp_path: Path, suffix: str, compress: bool, share: float
) -> None:
    path = write(tmp_path / f"cut{suffix}", image(), compress)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert str(path) in refusal(lambda: read_volume(path))


def test_a_whole_gzip_stream_of_a_truncated_nifti_is_refused(tmp_path: Path) -> None:
    content = write(tmp_path / "whole.nii", image()).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(content[:-100]))
    assert "truncated" in refusal(lambda: read_volume(tmp_path / "cut.nii.gz"))


@pytest.mark.parametrize("place", [0.3, 0.6, 0.999])
def test_a_gzip_stream_with_one_changed_byte_is_refused(tmp_path: Path, place: float) -> None:
    path = write(tmp_path / "flipped.nii.gz", image())
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 0xFF
    path.write_bytes(content)
    assert "damaged" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_truncated_picture_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(noise((200, 300)).astype(np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert str(path) in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("header", [".mhd", ".nhdr"])
@pytest.mark.parametrize("present", [True, False])
def test_a_header_without_all_of_its_voxels_is_refused(
    tmp_path: Path, header: str, present: bool
) -> None:
    path = write(tmp_path / f"head{header}", image())
    (voxels,) = set(tmp_path.iterdir()) - {path}
    voxels.write_bytes(voxels.read_bytes()[:500]) if present else voxels.unlink()
    assert str(path) in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_voxels_that_are_no_numbers_are_refused_and_counted(
    tmp_path: Path, suffix: str, kind: type, value: float
) -> None:
    array = noise((8, 9, 10)).astype(kind)
    array[0, 0, 0] = array[-1, -1, -1] = value
    path = write(tmp_path / f"bad{suffix}", image(array))
    assert "found 2 voxel(s) that are NaN or infinite" in refusal(lambda: read_volume(path))


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    real = sitk.Cast(image(), sitk.sitkFloat32)
    path = write(tmp_path / "k-space.nii", sitk.RealAndImaginaryToComplex(real, real))
    assert "complex" in refusal(lambda: read_volume(path))


def test_a_constant_volume_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "flat.nrrd", image(np.full((8, 9, 10), 7, np.int16)))
    assert "the same value 7" in refusal(lambda: read_volume(path))


def test_a_constant_channel_is_refused_and_named(tmp_path: Path) -> None:
    parts = [image(), image(np.full((8, 9, 10), 7, np.int16))]
    path = write(tmp_path / "flat.nii.gz", sitk.JoinSeries(parts))
    assert "channel 2" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_a_4d_image_is_refused_by_a_model_of_one_channel(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"four{suffix}", sitk.JoinSeries([image()] * 5))
    grid = InputSpec(1, "LPS", (None,) * 3, AS_IS, is_2d=False)
    assert "found 5 channel(s)" in refusal(lambda: conform(read_volume(path), grid))


def test_a_5d_image_is_refused(tmp_path: Path) -> None:
    vectors = sitk.JoinSeries([sitk.Compose(image(), image())] * 3)
    path = write(tmp_path / "five.nrrd", vectors)
    assert "4 dimensions with 2 components" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("mm", [0.0, -2.0, np.nan, np.inf], ids=str)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_nifti_with_a_spacing_that_is_not_positive_is_refused(
    tmp_path: Path, name: str, mm: float
) -> None:
    path = nifti_with(tmp_path / name, 84, struct.pack("<f", mm))
    assert f"a voxel spacing of 1 x {mm:g} x 3 mm" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("name", ["ElementSpacing", "ElementSize"])
@pytest.mark.parametrize("mm", ["0", "-2", "nan", "inf"])
def test_a_metaimage_with_a_spacing_that_is_not_positive_is_refused(
    tmp_path: Path, mm: str, name: str
) -> None:
    new = f"{name} = 1 {mm} 3".encode()
    path = edited(tmp_path / "a.mha", b"ElementSpacing = 1 2 3", new)
    assert f"a voxel spacing of 1 x {mm} x 3 mm" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("mm", ["0", "-2", "nan"])
def test_a_nrrd_with_a_spacing_that_is_not_positive_is_refused(tmp_path: Path, mm: str) -> None:
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 10 9 8\nendian: little\nencoding: raw\n"
    content = f"{header}spacings: 1 {mm} 3\n\n".encode() + noise((8, 9, 10)).tobytes()
    (tmp_path / "a.nrrd").write_bytes(content)
    line = refusal(lambda: read_volume(tmp_path / "a.nrrd"))
    assert f"a voxel spacing of 1 x {mm} x 3 mm" in line


def test_an_unknown_spacing_of_the_channels_of_a_nrrd_is_as_it_should_be(tmp_path: Path) -> None:
    header = "NRRD0004\ntype: short\ndimension: 4\nsizes: 2 10 9 8\nendian: little\nencoding: raw\n"
    header += "kinds: vector domain domain domain\nspacings: nan 1 2 3\n\n"
    (tmp_path / "a.nrrd").write_bytes(header.encode() + noise((8, 9, 10, 2)).tobytes())
    volume = read_volume(tmp_path / "a.nrrd")
    assert np.array_equal(volume.array, np.moveaxis(noise((8, 9, 10, 2)), -1, 0))
    assert volume.geometry.spacing == (1, 2, 3)


@pytest.mark.parametrize(
    "vector", ["(0,0,0)", "(0,nan,0)", "(1,0,0)", "(1,2,0)"], ids=["0", "NaN", "same", "skew"]
)
def test_a_nrrd_whose_axes_span_no_box_is_refused(tmp_path: Path, vector: str) -> None:
    path = edited(tmp_path / "a.nrrd", b" (0,2,0) ", f" {vector} ".encode())
    assert str(path) in refusal(lambda: read_volume(path))


@pytest.mark.parametrize(
    "matrix", ["1 0 0 0.5 1 0 0 0 1", "1 0 0 0 2 0 0 0 1", "1 0 0 0 0 0 0 0 1"]
)
def test_a_metaimage_whose_axes_span_no_box_is_refused(tmp_path: Path, matrix: str) -> None:
    path = edited(tmp_path / "a.mha", b"1 0 0 0 1 0 0 0 1", matrix.encode())
    assert str(path) in refusal(lambda: read_volume(path))


def test_a_nifti_with_skew_axes_is_refused(tmp_path: Path) -> None:
    codes_and_rows = struct.pack("<2h", 0, 1) + bytes(24) + struct.pack("<4f", 1, 1, 0, 0)
    path = nifti_with(tmp_path / "a.nii", 252, codes_and_rows)
    assert "orthonormal" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("size", [(3, -10, 9, 8), (0, 10, 9, 8), (3, 10, 0, 8)], ids=str)
def test_a_nifti_of_no_size_is_refused(tmp_path: Path, size: tuple[int, ...]) -> None:
    path = nifti_with(tmp_path / "a.nii", 40, struct.pack("<4h", *size))
    assert str(path) in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("inside", [False, True], ids=["the file", "its folder"])
def test_a_file_without_permission_is_refused_as_such(tmp_path: Path, inside: bool) -> None:
    path = write(tmp_path / "a.nrrd", image())
    (tmp_path if inside else path).chmod(0)
    try:
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything: permissions cannot be tested as root")
        assert "no permission" in refusal(lambda: read_volume(path))
    finally:
        tmp_path.chmod(0o700)


def test_labels_are_whole_numbers_from_0_to_255(tmp_path: Path) -> None:
    good = noise((8, 9, 10)) % 4
    path = write(tmp_path / "good.nii.gz", image(good.astype(np.float32)))
    assert np.array_equal(read_labels(path).array[0], good)
    for name, array in {
        "half": good + 0.5,
        "negative": good - 1.0,
        "large": good + 300.0,
        "none": np.where(good == 1, np.nan, good),
    }.items():
        path = write(tmp_path / f"{name}.nrrd", image(array))
        assert "label" in refusal(lambda path=path: read_labels(path))
