"""Each network of the catalogue with each method: what is trained, which module is the classifier,
and what copies of a decoder share.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import NETWORKS, TRAINED, image, model, take_the_last_state
from torch import nn

from SFDALib.adaptation import upl
from SFDALib.adaptation.common import features, loop
from SFDALib.adaptation.common.batch_norm import affine_parameters
from SFDALib.adaptation.common.patches import TargetPatches
from SFDALib.adaptation.common.recipe import Setting
from SFDALib.bundle import assembly
from SFDALib.bundle.description import EarlyHeadDescription
from SFDALib.bundle.source import Source
from SFDALib.errors import RequestError
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.networks import catalogue
from SFDALib.networks.build import build_network, early_stages
from SFDALib.networks.residual_unet import EarlyHead
from SFDALib.progress import silent
from SFDALib.volume.conform import Conformed
from SFDALib.volume.input_spec import Region

pytest.importorskip("dynamic_network_architectures", reason="nnU-Net's networks")

MONAI = "monai.networks.nets."
SIDES = {"VNet": 32, "SwinUNETR": 64, "BasicUNet": 32}  # of the images; 16 for the others
HALF = {"UNet"}  # whose classifier is a transposed convolution


def source(name: str, outputs: int = 3) -> Source:
    """A network with random weights as it comes into a bundle, with an early head if it can."""
    arguments, _, _ = NETWORKS[name]
    definition = {"spatial_dims": 2, "in_channels": 1, "out_channels": outputs, **arguments}
    definition = catalogue.with_one_output(definition)
    base = model(2, max(outputs, 2))
    size = SIDES.get(name, 16)
    description = replace(base.description, network=definition, patch_size=(size, size))
    torch.manual_seed(0)
    network = build_network(definition).eval().requires_grad_(False)
    head = None
    if catalogue.SEGMENTATION[definition["_target_"]].early_stages:
        (stage, *_) = (early_stages(network, definition, 0),)
        with torch.no_grad():
            seen = torch.zeros(1, 1, size, size)
            for part in stage:
                seen = part(seen)
        head = EarlyHead(2, seen.shape[1], outputs).requires_grad_(False)
        description = replace(description, early_head=EarlyHeadDescription(0, seen.shape[1]))
    return Source(description, network, head, None, torch.device("cpu"), {})


def picture(bundle: Source) -> Conformed:
    """Four slices of an image as large as the bundle's patches."""
    whole = image()
    larger = bundle.description.patch_size[0] // 16
    array = np.kron(whole.array[:, ::2], np.ones((1, 1, larger, larger), np.float32))
    return replace(whole, array=array)


def some(bundle: Source) -> torch.Tensor:
    return TargetPatches(bundle, [picture(bundle).array]).batch([1, 2])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_classifier_is_the_module_that_makes_the_logits(name: str) -> None:
    """Its features determine the logits, and at most a normalisation follows it."""
    bundle = source(name)
    _, expected, channels = NETWORKS[name]
    found = features.classifier(bundle.network, some(bundle))
    assert found == expected
    seen, logits = features.forward(bundle.network, found, some(bundle))
    assert seen.shape[1] == channels
    scale = 2 if name in HALF else 1
    assert seen.shape[2:] == tuple(n // scale for n in logits.shape[2:])
    torch.testing.assert_close(logits, bundle.network(some(bundle)))
    part = bundle.network.get_submodule(found)
    hook = part.register_forward_pre_hook(lambda *_: (seen,))
    others = bundle.network(torch.zeros_like(some(bundle)))
    hook.remove()
    torch.testing.assert_close(others, logits)


@pytest.mark.parametrize("name", NETWORKS)
def test_prototypes_are_the_same_whichever_patch_they_are_found_by(name: str) -> None:
    bundle = source(name)
    found = features.classifier(bundle.network, some(bundle))
    one = features.prototypes(bundle.network, found, some(bundle))
    other = features.prototypes(bundle.network, found, torch.rand_like(some(bundle)))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert one.shape == (3, NETWORKS[name][2])


@pytest.mark.parametrize("name", NETWORKS)
def test_copies_for_upl_share_every_part_of_the_encoder_and_nothing_else(name: str) -> None:
    """With the encoder moved, the copies still predict what the network does."""
    bundle = source(name)
    network = copy.deepcopy(bundle.network)
    setting = Setting(bundle, network, (), None, registry.find("upl").values({}, PUBLISHED), None)
    (sibling,), shared = upl.copies(setting, 1)
    mine, theirs = (dict(one.named_parameters()) for one in (network, sibling))
    in_common = {name for name, p in mine.items() if p is theirs[name]}
    assert in_common == {name for name, p in mine.items() if id(p) in shared}
    assert in_common and in_common != set(mine), "a part, and not all"
    stages = bundle.encoder(network)
    assert in_common == {
        name for name, p in mine.items() if any(p is q for one in stages for q in one.parameters())
    }
    with torch.no_grad():
        for stage in stages:
            for parameter in stage.parameters():
                parameter.mul_(1.5)
        torch.testing.assert_close(sibling(some(bundle)), network(some(bundle)))


def expected_names(method: str, bundle: Source) -> set[str]:
    """Of the weights that the method says it trains, those that take part in a prediction."""
    network = copy.deepcopy(bundle.network).requires_grad_(True)
    network(some(bundle)).square().sum().backward()
    used = {n for n, p in network.named_parameters() if p.grad is not None}
    parameters = dict(network.named_parameters())
    if method == "tent":
        chosen = {id(p) for p in affine_parameters(network)}
    elif method == "early-features":
        chosen = {id(p) for s in bundle.early_stages(network, 0) for p in s.parameters()}
    elif method == "protocontra":
        name = features.classifier(network, some(bundle))
        head = features.head_parameters(network, name, some(bundle))
        chosen = {id(p) for p in parameters.values()} - {id(p) for p in head}
    else:
        chosen = {id(p) for p in parameters.values()}
    return {name for name in used if id(parameters[name]) in chosen}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", TRAINED)
def test_one_step_changes_the_named_weights_and_no_others(
    method: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_the_last_state(monkeypatch)
    bundle, described = source(name), registry.find(method)
    lacking = described.lacks(bundle.description.holds)
    if lacking or (method == "early-features" and bundle.early_head is None):
        pytest.skip(f"{name} {lacking or 'has no early stages'}")
    known = {option.name for option in described.options}
    options = {"batch": 8, "epochs": 1, "rounds": 1, "bn": "eval", "settle_bn": False}
    options |= {
        "ensemble": 1,
        "learning_rate": 1e-3,
        "calibrated": False,
        "dropout": 0.1,
        "prior": "0.2,0.1",
    }
    if method in ("self-training", "cbst"):
        options |= {"portion": 1.0, "portion_max": 1.0}
    if method == "dpl":  # random weights are sure of nothing
        options |= {"confidence": 0.3, "uncertainty": 1.0}
    if method == "upl":
        options |= {"threshold": 0.3, "dropout": 0.0}
    values = described.values({k: v for k, v in options.items() if k in known}, PUBLISHED)
    outcome = loop.adapt(described, bundle, [picture(bundle)], values, 0, silent)
    assert all(math.isfinite(x) for x in outcome.curves["training_loss"])
    before = dict(bundle.network.named_parameters())  # each once: a state dict has other names, too
    changed = {n for n, value in before.items() if not torch.equal(value, outcome.weights[n])}
    statistics = dict(bundle.network.named_buffers())
    assert all(torch.equal(value, outcome.weights[n]) for n, value in statistics.items())
    expected = expected_names(method, bundle)
    assert changed <= expected, "no others"
    # the gradient of a bias before a normalisation is rounding
    still = expected - changed
    assert all(before[n].ndim == 1 for n in still) and len(still) < 0.25 * len(expected), still


def test_a_network_without_a_classifier_is_refused_by_name() -> None:
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 3, 1), nn.Conv2d(1, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.first(x) + self.second(x)

    with pytest.raises(RequestError, match="no last layer in TwoHeads"):
        features.classifier(TwoHeads(), torch.rand(1, 1, 4, 4))


@pytest.mark.parametrize("after", [nn.Upsample(scale_factor=2), nn.BatchNorm2d(3), nn.Identity()])
def test_what_follows_the_classifier_may_be_an_upsampling_or_a_normalisation(
    after: nn.Module,
) -> None:
    network = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 3, 1), after)
    images = torch.rand(2, 1, 8, 8)
    assert features.classifier(network, images) == "2"
    assert features.prototypes(network.eval(), "2", images).shape == (3, 5)


def test_an_activation_after_the_classifier_leaves_no_prototypes() -> None:
    network = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.Conv2d(5, 3, 1), nn.Softplus())
    images = torch.rand(2, 1, 8, 8)
    assert features.classifier(network, images) == "1"
    with pytest.raises(RequestError, match="no affine function"):
        features.prototypes(network, "1", images)


# --- Regions and ensembles ---------------------------------------------------------------------

NESTED = (Region(1, 1), Region(0, 2))  # the whole is painted first, its core on top


def with_regions(ensemble: int = 1) -> Source:
    bundle = source("DynUNet", outputs=2)
    grid = replace(bundle.description.input_spec, regions=NESTED)
    labels = model(2, 3).description.labels
    description = replace(bundle.description, input_spec=grid, labels=labels, ensemble=ensemble)
    network = assembly.assemble(lambda: build_network(description.network), ensemble, NESTED)
    return replace(bundle, description=description, network=network.eval().requires_grad_(False))


def test_prototypes_of_regions_are_signed_sums_of_the_region_weights() -> None:
    """Background lies in neither region, label 1 in the outer, label 2 in both."""
    bundle = with_regions()
    name = features.classifier(bundle.network, some(bundle))
    assert name == "output_block.conv.conv"
    core, whole = bundle.network.network.get_submodule(name).weight.flatten(1)
    expected = torch.stack([-whole - core, whole - core, whole + core]) / 2
    found = features.prototypes(bundle.network, name, some(bundle))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("method", [m for m in TRAINED if not registry.find(m).needs])
def test_each_member_of_an_ensemble_is_adapted_as_if_it_were_alone(
    method: str, regions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_the_last_state(monkeypatch)
    torch.manual_seed(3)
    if regions:
        bundle = with_regions(2)
        shown = assembly.members(bundle.network)
    else:
        alone = source("DynUNet")
        shown = (alone.network, build_network(alone.description.network).requires_grad_(False))
        description = replace(alone.description, ensemble=2)
        network = assembly.Ensemble(shown).eval()
        bundle = replace(alone, description=description, network=network, early_head=None)
    described = registry.find(method)
    known = {option.name for option in described.options}
    # without chance: what each draws would otherwise depend on the other
    options = {"batch": 8, "epochs": 1, "rounds": 1, "learning_rate": 1e-3, "settle_bn": False}
    options |= {"dropout": 0.0, "specks": 0, "erasing": 0, "gamma_max": 1.0, "augment": False}
    options |= {"flips": 0.0, "prior": "0.2,0.1", "ensemble": 1}
    if method == "dpl":
        options |= {"confidence": 0.3, "uncertainty": 1.0}
    values = described.values({k: v for k, v in options.items() if k in known}, PUBLISHED)
    together = loop.adapt(described, bundle, [picture(bundle)], values, 0, silent)
    assert any("each of the 2 sets of weights" in note for note in together.notes)
    if method in ("dg-tta", "dpl"):
        return  # drawn
    adapted = copy.deepcopy(bundle.network)
    adapted.load_state_dict(together.weights)
    single = replace(bundle.description, ensemble=1)
    for was, now in zip(shown, assembly.members(adapted), strict=True):
        one = replace(bundle, description=single, network=was)
        expected = loop.adapt(described, one, [picture(bundle)], values, 0, silent).weights
        found = now.state_dict()
        moved = 0.0
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-6)
            moved += float((value - was.state_dict()[key]).abs().sum())
        assert moved > 0
