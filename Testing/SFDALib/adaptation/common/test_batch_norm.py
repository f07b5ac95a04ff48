"""Re-estimated batch statistics are the average over the target."""

from __future__ import annotations

import copy

import pytest
import torch
from taught_head import source, statistics, targets
from torch import Tensor

from SFDALib.adaptation.common.batch_norm import reestimate
from SFDALib.adaptation.common.patches import TargetPatches


@pytest.mark.parametrize(("dims", "batch"), [(2, 4), (3, 2)])
def test_settled_statistics_are_the_average_over_the_target_in_one_pass(
    dims: int, batch: int
) -> None:
    """By hand: each layer's mean and unbiased variance of every batch, averaged. 9 slices make
    batches of 4, 4 and 1: each batch counts once.
    """
    network = copy.deepcopy(source(dims).network)
    patches = TargetPatches(source(dims), [image.array for image in targets(dims, 2, 2)])
    norms = {name: part for name, part in network.named_modules() if hasattr(part, "running_var")}
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in norms}

    def note(name: str, x: Tensor) -> None:
        channels = x.transpose(0, 1).flatten(1)
        seen[name].append((channels.mean(1), channels.var(1)))

    hooks = [
        norm.register_forward_pre_hook(lambda _, args, name=name: note(name, args[0]))
        for name, norm in norms.items()
    ]
    with torch.no_grad():
        for indices in patches.ordered(batch):
            copy.deepcopy(network).train()(patches.batch(indices))
    for hook in hooks:
        hook.remove()
    before = copy.deepcopy(network.state_dict())
    assert seen and all(len(batches) == -(-len(patches) // batch) for batches in seen.values())

    reestimate(network, patches, batch)

    for name, norm in norms.items():
        means, variances = (torch.stack(values) for values in zip(*seen[name], strict=True))
        torch.testing.assert_close(norm.running_mean, means.mean(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, variances.mean(0), rtol=1e-4, atol=1e-5)
        assert int(norm.num_batches_tracked) == len(means)
        assert norm.momentum == 0.1, "later steps average as before"
    assert not network.training
    after = network.state_dict()
    assert {n for n in before if not torch.equal(before[n], after[n])} <= statistics(before)
    means_moved = (n for n in before if n.endswith("running_mean"))
    assert all(not torch.equal(before[n], after[n]) for n in means_moved)
