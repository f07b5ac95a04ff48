"""Prediction: windows, slices and mirroring, with networks whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import describe
from nnunet_models import (
    SETTINGS,
    dataset,
    plans,
)
from torch import Tensor, nn

from SFDALib.bundle import source
from SFDALib.bundle.description import Description
from SFDALib.bundle.importers.common import labels as labels_of
from SFDALib.bundle.importers.nnunet_plans import read_plans
from SFDALib.bundle.source import Source
from SFDALib.inference.predict import predict
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.networks.build import build_network
from SFDALib.networks.outputs import class_probabilities
from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Geometry, Volume

PLAIN = InferenceOptions()
CPU = torch.device("cpu")


class Voxelwise(nn.Module):
    """An oracle that looks at no neighbour: logits are multiples of the first channel."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.arange(1.0, outputs + 1))

    def forward(self, x: Tensor) -> Tensor:
        assert all(side % 8 == 0 for side in x.shape[2:])
        return x[:, :1] * self.scale.view(1, -1, *[1] * (x.ndim - 2))


class Towards(nn.Module):
    """Sees where each voxel lies in its window: logits grow along the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linspace(-3, 3, x.shape[-1]).expand(x.shape).contiguous()


def model(spatial_dims: int, network: nn.Module, classes: int = 2, **changes: object) -> Source:
    description = replace(describe(spatial_dims, classes), **changes)
    return Source(description, network.eval(), None, None, CPU, {})


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)


SHAPES = [(3, 70, 45), (2, 5, 9), (11, 33, 20), (1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dims", [2, 3])
def test_whatever_the_images_size_each_voxel_gets_its_own_probability(
    dims: int, shape: tuple[int, ...]
) -> None:
    array = image(*shape)
    p = predict(model(dims, Voxelwise()), array, PLAIN)
    assert p.shape == (2, *shape)
    expected = torch.sigmoid(torch.from_numpy(array[0]))
    torch.testing.assert_close(p[1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dims", [2, 3])
def test_probabilities_sum_to_1(dims: int, classes: int) -> None:
    torch.manual_seed(0)
    network = build_network(describe(dims, classes).network)
    p = predict(model(dims, network, classes), image(18, 50, 30), replace(PLAIN, mirror=True))
    assert p.shape == (classes, 18, 50, 30)
    assert p.min() >= 0
    torch.testing.assert_close(p.sum(0), torch.ones(18, 50, 30), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_mirroring_averages_over_every_flip(dims: int) -> None:
    """Along the last axis the network says p(x), its mirror image p(-x): they average to 1/2."""
    array = image(16, 32, 32)
    once = predict(model(dims, Towards()), array, PLAIN)
    assert once[1, 0, 0, 0] < 0.1 < 0.9 < once[1, 0, 0, -1]
    mirrored = predict(model(dims, Towards()), array, replace(PLAIN, mirror=True))
    torch.testing.assert_close(mirrored, torch.full((2, 16, 32, 32), 0.5), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
def test_with_mirroring_the_result_of_a_flipped_image_is_the_flipped_result(dims: int) -> None:
    torch.manual_seed(0)
    source = model(dims, build_network(describe(dims).network))
    array = image(16, 32, 32)
    options = replace(PLAIN, mirror=True)
    expected = predict(source, array, options)
    for axis in range(1, 4) if dims == 3 else (2, 3):
        found = predict(source, np.ascontiguousarray(np.flip(array, axis)), options)
        torch.testing.assert_close(found.flip(axis), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_mirroring_evaluates_each_combination_of_axes_once(dims: int) -> None:
    seen = []
    network = Voxelwise()
    network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].clone()))
    array = np.zeros((1, 16, 32, 32), dtype=np.float32)
    array[0, 1:, 1, 2] = 1  # in no two flips at the same place
    if dims == 2:
        array = array[:, 1:2]
    predict(model(dims, network), array, replace(PLAIN, mirror=True))
    calls = [x for x in seen if x.device.type == "cpu"]
    assert len(calls) == 2**dims
    assert len({x.numpy().tobytes() for x in calls}) == 2**dims


@pytest.mark.parametrize("dims", [2, 3])
def test_the_batch_size_does_not_matter(dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    source = model(dims, build_network(describe(dims).network))
    array = image(17, 32, 40)
    results = []
    for batch in (1, 3, 100):
        monkeypatch.setattr(
            "SFDALib.inference.predict.batch_that_fits", lambda *_, size=batch: size
        )
        results.append(predict(source, array, PLAIN))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-6)


def test_the_slices_of_a_2d_model_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    source = model(2, build_network(describe().network))
    array = image(9, 40, 32)
    together = predict(source, array, PLAIN)
    for index in (0, 4, 8):
        alone = predict(source, array[:, index : index + 1], PLAIN)
        torch.testing.assert_close(alone[:, 0], together[:, index], rtol=0, atol=1e-6)


def test_the_more_windows_overlap_the_smoother_they_are_blended() -> None:
    """Each window says how far right a voxel lies in it; where windows abut, that jumps."""
    seams = []
    for overlap in (0.0, 0.5, 0.75):
        options = InferenceOptions(overlap=overlap)
        p = predict(model(2, Towards()), image(1, 32, 128), options)[1, 0, 0]
        seams.append(p[24:104].logit().diff().abs().max().item())
    assert seams[0] == pytest.approx(3.0 - -3.0, rel=1e-4)
    assert seams[1] < 0.5 * seams[0]
    assert seams[2] < 0.5 * seams[1]


@pytest.mark.parametrize("classes", [2, 3])
def test_logits_are_divided_by_the_bundles_temperature(classes: int) -> None:
    network = Voxelwise(1 if classes == 2 else classes)
    source = model(2, network, classes, temperature=2.5)
    array = image(2, 32, 32)
    p = predict(source, array, PLAIN)
    logits = network(torch.from_numpy(array).transpose(0, 1)) / 2.5
    expected = class_probabilities(logits).transpose(0, 1)
    torch.testing.assert_close(p, expected, rtol=1e-5, atol=1e-6)


def test_another_network_is_used_instead_of_the_bundles_and_in_eval_mode() -> None:
    other = Voxelwise().train()
    nn.init.constant_(other.scale, -1.0)
    array = image(2, 32, 32)
    p = predict(model(2, Voxelwise()), array, PLAIN, network=other)
    expected = torch.sigmoid(-torch.from_numpy(array[0]))
    torch.testing.assert_close(p[1], expected, rtol=1e-5, atol=1e-6)
    assert not other.training
    assert not p.requires_grad


def test_progress_counts_the_slices() -> None:
    told = []
    predict(
        model(2, Voxelwise()),
        image(20, 16, 16),
        PLAIN,
        lambda stage, step, total, **_: told.append((stage, step, total)),
        stage="looking",
    )
    assert told[-1] == ("looking", 20, 20)
    assert [step for _, step, _ in told] == sorted({step for _, step, _ in told})


def test_a_crop_to_one_slice_is_segmented_as_nnunet_pads_it() -> None:
    """The images's only slice that is not empty goes through the network with zeros around."""
    setting = SETTINGS["3d plain"]
    described = read_plans(plans(setting), dataset(setting), setting.configuration, "model")
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
