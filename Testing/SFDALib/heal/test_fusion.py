"""Size-aware fusion of the denoised label and the chosen sample, by hand."""

from __future__ import annotations

import inspect

import pytest
import torch

from SFDALib.heal.fusion import size_aware_fusion
from SFDALib.methods.heal import HealOptions

# Six voxels in a row, classes background, 1 and 2: v_1 = 3, v_2 = 1, so k* = 2 and
# lambda = (1/3, 1) / (4/3) = (.25, .75).
DENOISED = torch.tensor([1, 1, 1, 2, 0, 0]).view(1, 1, 6)

GENERATED = torch.tensor(
    [
        [0.1, 0.2, 0.6, 0.7, 0.4, 0.90],
        [0.8, 0.3, 0.3, 0.2, 0.1, 0.06],
        [0.1, 0.5, 0.1, 0.1, 0.5, 0.04],
    ]
).view(3, 1, 1, 6)


def source_with(smallest_probability: float) -> torch.Tensor:
    """Source probabilities that give class 2 this much everywhere."""
    rest = (1 - smallest_probability) / 2
    return torch.tensor([rest, rest, smallest_probability]).view(3, 1, 1, 1).expand(3, 1, 1, 6)


def test_hard_fusion_replaces_the_smallest_class_by_that_of_the_denoised_label():
    # voxel 1: class 2 -> second best 1; voxel 4: class 2 -> second best 0; voxel 3 painted 2.
    fused = size_aware_fusion(GENERATED, DENOISED)
    assert fused.labels.flatten().tolist() == [1, 1, 0, 2, 0, 0]
    assert fused.smallest_class == 2
    assert fused.lambdas == pytest.approx((0.25, 0.75))
    assert not fused.skipped and fused.notes == ()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (source_with(0.6), [1, 1, 1, 2, 0, 0]),  # voxel 3: .75 * .6 > .25 * .7
        (source_with(0.06), [1, 1, 1, 1, 0, 0]),  # voxel 3: .75 * .06 < .25 * .7
        (None, [1, 1, 1, 2, 0, 0]),  # voxel 3: .75 * 1 > .25 * .7
    ],
)
def test_weighted_fusion_gives_a_voxel_no_class_that_neither_source_has_there(source, expected):
    """Voxel 3 is 2 in Y* and 1 in the sample, voxel 4 background and 2."""
    generated = GENERATED.clone()
    generated[:, 0, 0, 3] = torch.tensor([0.2, 0.7, 0.1])
    fused = size_aware_fusion(generated, DENOISED, source, mode="prob_lambda")
    assert fused.labels.flatten().tolist() == expected
    assert fused.smallest_class == 2
    either = torch.stack([DENOISED, generated.argmax(0)])
    assert (fused.labels == either).any(0).all()


def test_weighted_fusion_leaves_a_voxel_that_no_class_wants_as_background():
    generated = GENERATED.clone()
    generated[:, 0, 0, 4] = torch.tensor([0.0, 0.0, 1.0])  # k* here, where Y* has none
    fused = size_aware_fusion(generated, DENOISED, mode="prob_lambda")
    assert fused.labels[0, 0, 4] == 0


def test_the_highest_label_is_the_smallest_on_ties():
    denoised = torch.tensor([1, 1, 2, 2, 0, 0]).view(1, 1, 6)
    fused = size_aware_fusion(GENERATED, denoised)
    assert fused.smallest_class == 2
    assert fused.lambdas == (0.5, 0.5)


@pytest.mark.parametrize("mode", ["hard", "prob_lambda"])
def test_a_class_absent_from_the_denoised_label_has_no_weight(mode):
    generated = torch.full((4, 1, 1, 6), 0.25)
    denoised = torch.tensor([1, 1, 1, 3, 3, 0]).view(1, 1, 6)
    fused = size_aware_fusion(generated, denoised, mode=mode)
    assert fused.smallest_class == 3
    assert fused.lambdas == pytest.approx((0.4, 0.0, 0.6))
    assert sum(fused.lambdas) == pytest.approx(1)


@pytest.mark.parametrize(
    ("generated", "denoised", "reason"),
    [
        (GENERATED[:2], [1, 1, 0, 0, 0, 0], "the model has a single foreground class"),
        (GENERATED, [1, 1, 0, 0, 0, 0], "holds a single foreground class (1)"),
        (GENERATED, [0, 0, 0, 0, 0, 0], "the denoised label is empty"),
    ],
)
@pytest.mark.parametrize("mode", ["hard", "prob_lambda"])
def test_with_nothing_to_fuse_the_generated_segmentation_stands(generated, denoised, reason, mode):
    fused = size_aware_fusion(generated, torch.tensor(denoised).view(1, 1, 6), mode=mode)
    assert fused.skipped
    assert torch.equal(fused.labels, generated.argmax(0))
    assert fused.smallest_class is None and fused.lambdas == ()
    assert reason in fused.notes[0]


def test_fusion_leaves_its_inputs_as_they_were():
    generated, denoised, source = GENERATED.clone(), DENOISED.clone(), source_with(0.6).clone()
    for mode in ("hard", "prob_lambda"):
        size_aware_fusion(generated, denoised, source, mode)
    assert torch.equal(generated, GENERATED)
    assert torch.equal(denoised, DENOISED)
    assert torch.equal(source, source_with(0.6))


def test_fusion_is_hard_unless_said_otherwise():
    mode = inspect.signature(size_aware_fusion).parameters["mode"]
    assert HealOptions().fusion == mode.default
