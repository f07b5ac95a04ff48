"""Random affine maps and their inverses."""

from __future__ import annotations

import pytest
import torch

from SFDALib.adaptation.common import affine


@pytest.mark.parametrize("dims", [2, 3])
def test_an_affine_map_and_its_inverse_bring_a_smooth_image_back(dims: int) -> None:
    place = [torch.linspace(-1, 1, 24)] * dims
    smooth = sum(x.square() for x in torch.meshgrid(*place, indexing="ij"))[None, None]
    torch.manual_seed(0)
    maps = affine.random_maps(smooth, 0.05)
    assert maps.shape == (1, dims, dims + 1)
    assert (maps - torch.eye(dims, dims + 1)).std() == pytest.approx(0.05, rel=0.6)
    back = affine.warped(affine.warped(smooth, maps, "border"), affine.inverse(maps), "border")
    inside = (..., *[slice(8, 16)] * dims)
    torch.testing.assert_close(back[inside], smooth[inside], atol=0.02, rtol=0)


def test_a_translation_of_one_voxel_moves_the_image_by_one_voxel() -> None:
    """Coordinates run from -1 to 1 over 8 voxels: a shift of 2/8 along the last axis."""
    images = torch.arange(8.0).expand(1, 1, 8, 8)
    maps = torch.tensor([[[1.0, 0.0, 2 / 8], [0.0, 1.0, 0.0]]])
    shifted = affine.warped(images, maps, "zeros")
    torch.testing.assert_close(shifted[0, 0, 0, :7], torch.arange(1.0, 8.0))
    torch.testing.assert_close(affine.inverse(maps)[0, 0, 2], torch.tensor(-2 / 8))
