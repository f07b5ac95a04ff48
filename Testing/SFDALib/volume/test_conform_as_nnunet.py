"""Images are cropped, normalised and resampled as nnU-Net does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from nnunet_models import (
    SETTINGS,
    Setting,
    dataset,
    plans,
)

from SFDALib.bundle import source
from SFDALib.bundle.description import Description
from SFDALib.bundle.importers.common import labels as labels_of
from SFDALib.bundle.importers.nnunet_plans import Plans, read_plans
from SFDALib.inference.predict import predict
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.networks.build import build_network
from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.input_spec import InputSpec, Resampling
from SFDALib.volume.intensity import normalise
from SFDALib.volume.normalisation import Normalisation

CPU = torch.device("cpu")
PLAIN, MASKED = SETTINGS["3d plain"], SETTINGS["3d residual, masked"]


def read(setting: Setting, described: dict[str, Any] | None = None) -> Plans:
    described = described or plans(setting)
    return read_plans(described, dataset(setting), setting.configuration, "model")


def test_normalisation_within_the_body_leaves_what_is_around_it() -> None:
    array = np.zeros((2, 1, 5, 5), np.float32)
    array[0, 0, 1:4, 1:4] = [[1, 2, 3], [4, 0, 6], [7, 8, 9]]  # the hole belongs to the body
    array[1, 0, 1:4, 1:4] = 5
    scaled = normalise(array, Normalisation("zscore", within="body", channels=(0,)))
    body = np.array([1, 2, 3, 4, 0, 6, 7, 8, 9])
    expected = (body - body.mean()) / body.std()
    np.testing.assert_allclose(scaled[0, 0, 1:4, 1:4].ravel(), expected, rtol=1e-5)
    assert scaled[0, 0, 0].tolist() == [0] * 5
    assert (scaled[1] == array[1]).all()


def test_a_cropped_image_comes_back_to_its_place() -> None:
    array = np.zeros((1, 6, 8, 10))
    array[0, 2:5, 1:6, 3:9] = 7
    array[0, 3, 3, 5] = 9
    geometry = Geometry((10, 8, 6), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0))
    grid = InputSpec(
        *(1, None, (None,) * 3, Normalisation("none"), False),
        axes=(1, 0, 2),
        crop="nonzero",
    )
    conformed = conform(Volume(array, geometry), grid)
    assert conformed.array.shape == (1, 5, 3, 6)
    peak = np.argwhere(conformed.array[0] == 9)[0]
    np.testing.assert_allclose(
        conformed.geometry.to_lps(peak[::-1]), geometry.to_lps(np.array([5, 3, 3]))
    )
    p = torch.from_numpy((conformed.array[0] == 9).astype(np.float32))
    labels = conformed.restore_labels(torch.stack([1 - p, p]))
    assert np.argwhere(labels).tolist() == [[3, 3, 5]]
    assert torch.equal(conformed.restore(p[None])[0] > 0, torch.from_numpy(array[0] == 9))


def test_thick_slices_are_resampled_by_themselves_to_the_nearest() -> None:
    array = np.random.default_rng(0).normal(size=(1, 4, 10, 10))
    geometry = Geometry((10, 10, 4), (1.0, 1.0, 5.0))
    resampling = Resampling(order=3, smooth=False, separate_z=True)
    grid = InputSpec(1, None, (1.0, 1.0, 2.5), Normalisation("none"), False, resampling=resampling)
    result = conform(Volume(array, geometry), grid).array
    np.testing.assert_allclose(result, array.repeat(2, axis=1), rtol=1e-6)


def test_a_crop_to_one_slice_is_segmented_as_nnunet_pads_it() -> None:
    """The images's only slice that is not empty goes through the network with zeros around."""
    described = read(PLAIN)
    torch.manual_seed(0)
    network = build_network(described.network)
    array = np.zeros((1, 9, 24, 20), np.float32)
    array[0, 4] = np.random.default_rng(0).normal(100, 30, (24, 20))
    spacing = described.input_spec.spacing
    conformed = conform(Volume(array, Geometry((20, 24, 9), spacing)), described.input_spec)
    assert conformed.array.shape == (1, 1, 24, 20)
    grid, labels = described.input_spec, labels_of(("brain", "lesion"))
    about = Description("x", "MR", described.network, grid, (16, 24, 16), labels, "even")
    model = source.Source(about, network.eval(), None, None, CPU, {})
    p = predict(model, conformed.array, InferenceOptions())
    padded = torch.zeros(1, 1, 16, 24, 20)
    padded[0, :, 7] = torch.from_numpy(conformed.array[:, 0])
    with torch.no_grad():  # two windows along the last axis
        first, second = (torch.softmax(network(padded[..., s : s + 16]), 1) for s in (0, 4))
    torch.testing.assert_close(p[:, 0, :, 0], first[0, :, 7, :, 0], rtol=0, atol=1e-3)
    torch.testing.assert_close(p[:, 0, :, -1], second[0, :, 7, :, -1], rtol=0, atol=1e-3)
    assert conformed.restore_labels(p)[[0, 1, 2, 3, 5, 6, 7, 8]].max() == 0
