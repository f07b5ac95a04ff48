"""Components of improbable size or place on an oblique grid of 1 x 2 x 5 mm: 0.01 ml a voxel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from heads import OBLIQUE

from SFDALib.volume.cleaning import KEEP_PLAUSIBLE, Cleaning, Plausible
from SFDALib.volume.components import smallest_and_reach
from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.input_spec import InputSpec
from SFDALib.volume.labelling import byte_maps
from SFDALib.volume.normalisation import Normalisation

GRID = Geometry((40, 20, 12), (1.0, 2.0, 5.0), direction=OBLIQUE)
MAIN = (slice(2, 6), slice(4, 9), slice(5, 15))  # 200 voxels, 2 ml; its centre is (3.5, 6, 9.5)
NEAR = (slice(7, 8), slice(6, 7), slice(8, 11))  # 3 voxels, 0.03 ml; 17.5 mm along K
FAR = (slice(9, 11), slice(14, 19), slice(30, 35))  # 50 voxels, 0.5 ml; 40 mm and more away


def cleaned(known: Plausible, orientation: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the three pieces after the step, and those of the bytes of the probabilities."""
    step = Cleaning(KEEP_PLAUSIBLE, {"structures": (known,)})
    spec = InputSpec(
        1, orientation, (None, None, None), Normalisation("none"), False, cleaning=(step,)
    )
    p = np.zeros((12, 20, 40), np.float32)
    for piece in (MAIN, NEAR, FAR):
        p[piece] = 0.9
    conformed = conform(Volume(p[None], GRID), spec)
    found = torch.from_numpy(conformed.array)
    probabilities = torch.cat([1 - found, found])
    maps, _ = byte_maps(conformed, probabilities)
    return conformed.restore_labels(probabilities), maps.argmax(-1)


@pytest.mark.parametrize("orientation", [None, "RAI", "PIL"])
@pytest.mark.parametrize(
    ("known", "kept"),
    [
        (Plausible(1, (1.0, 9.0)), (MAIN, NEAR, FAR)),  # nothing known but the volume, which fits
        (Plausible(1, (1.0, 9.0), piece_ml=0.1), (MAIN, FAR)),
        (Plausible(1, (1.0, 9.0), piece_ml=0.6), (MAIN,)),
        (Plausible(1, (1.0, 9.0), radius_mm=30.0), (MAIN, NEAR)),
        (Plausible(1, (1.0, 2.2)), (MAIN,)),  # 2.53 ml: too large without the smallest, too
        (Plausible(1, (1.0, 2.51)), (MAIN, FAR)),  # large enough without the smallest
        (Plausible(1, (0.1, 0.2), piece_ml=5.0), (MAIN,)),  # the largest is never dropped
        # too small already, or after the next piece: nothing more is dropped
        (Plausible(1, (3.0, 9.0), piece_ml=0.6, radius_mm=30.0), (MAIN, NEAR, FAR)),
        (Plausible(1, (2.2, 9.0), piece_ml=0.6, radius_mm=30.0), (MAIN, FAR)),
        (Plausible(2, (1.0, 9.0), piece_ml=0.6), (MAIN, NEAR, FAR)),  # another structure
    ],
)
def test_pieces_that_the_source_does_not_show_are_dropped(
    known: Plausible, kept: tuple[tuple[slice, ...], ...], orientation: str | None
) -> None:
    expected = np.zeros((12, 20, 40), np.uint8)
    for piece in kept:
        expected[piece] = 1
    labels, of_bytes = cleaned(known, orientation)
    assert (labels == expected).all()
    assert (of_bytes == expected).all(), "the probabilities agree"


def test_smallest_piece_and_reach_are_measured_without_stray_voxels() -> None:
    mask = np.zeros((12, 20, 40), bool)
    mask[MAIN] = mask[FAR] = True
    mask[0, 0, 0] = True  # 1 of 251 voxels
    piece_ml, radius_mm = smallest_and_reach(mask, GRID.spacing_kji)
    assert piece_ml == pytest.approx(0.5)
    # from (3.5, 6, 9.5) to (10, 18, 34): 6.5 * 5, 12 * 2 and 24.5 * 1 mm
    assert radius_mm == pytest.approx((32.5**2 + 24**2 + 24.5**2) ** 0.5)
    mask[FAR] = False
    piece_ml, radius_mm = smallest_and_reach(mask, GRID.spacing_kji)
    assert piece_ml == pytest.approx(2.0)
    assert radius_mm == pytest.approx((7.5**2 + 4**2 + 4.5**2) ** 0.5)
