"""Pictures (PNG, JPEG, TIFF): their values, their pixel size and their orientation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from SFDALib.errors import RequestError
from SFDALib.volume.image_file import read_labels, read_volume
from SFDALib.volume.reading import Reading

GREY = (np.add.outer(np.arange(30) * 5, np.arange(40) * 2)).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("dots", [None, (72, 72), (300, 300), (300, 150)])
def test_the_resolution_of_a_print_is_no_pixel_size(
    name: str, dots: tuple[int, int] | None, tmp_path: Path
) -> None:
    Image.fromarray(GREY).save(tmp_path / name, **({"dpi": dots} if dots else {}))
    volume = read_volume(tmp_path / name)
    assert volume.geometry.spacing == (1, 1, 1)
    assert "a picture's pixels have no size" in volume.notes[0]
    stated = read_volume(tmp_path / name, Reading(spacing=(0.1, 0.2, 5.0)))
    assert stated.geometry.spacing == (0.1, 0.2, 5.0)


def test_pictures_of_every_kind_keep_their_values(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 257 + 100
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(read_volume(tmp_path / "deep.png").array[0, 0], deep)
    alpha = Image.fromarray(np.full_like(GREY, 128))
    Image.merge("LA", (Image.fromarray(GREY), alpha)).save(tmp_path / "alpha.png")
    assert np.array_equal(read_volume(tmp_path / "alpha.png").array[0, 0], GREY)
    colours = np.array([[10, 20, 30], [200, 100, 50], [0, 255, 7]], np.uint8)
    numbers = GREY % 3
    palette = Image.fromarray(numbers, "P")
    palette.putpalette(colours.ravel().tolist())
    palette.save(tmp_path / "palette.png")
    found = read_volume(tmp_path / "palette.png").array[:, 0]
    assert np.array_equal(found, np.moveaxis(colours[numbers], -1, 0))
    assert np.array_equal(read_labels(tmp_path / "palette.png").array[0, 0], numbers)


def test_a_transparent_grey_is_a_grey(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png", transparency=10)
    assert np.array_equal(read_volume(tmp_path / "a.png").array[0, 0], GREY)


def test_the_colours_of_a_print_are_refused(tmp_path: Path) -> None:
    Image.merge("CMYK", [Image.fromarray(GREY)] * 4).save(tmp_path / "a.jpg")
    with pytest.raises(RequestError, match="CMYK"):
        read_volume(tmp_path / "a.jpg")


def test_a_picture_that_is_stored_turned_says_so(tmp_path: Path) -> None:
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "turned.jpg", exif=tag, quality=95)
    volume = read_volume(tmp_path / "turned.jpg")
    assert volume.geometry.size == (40, 30, 1)
    assert any("EXIF orientation (6)" in note for note in volume.notes)
