"""InTEnt: predictions with several blends of the source's and the target's batch statistics.

1. Re-estimate the statistics of batch normalisation on the image. 2. Segment the image with blends
``(1 - r) source + r target`` of means and variances, r from 0 to 1. 3. Weight each probability map
by how low its entropy is, foreground and background counting alike. 4. Average. No weight is
trained, and the result is that of no single network: there is no adapted bundle.

Deviations from the released code (mazurowski-lab/single-image-test-time-adaptation, 2baf75f, its
variant "entropy balance"): the image is the whole volume, of which a 2D network's slices share the
statistics; there may be several structures, which are the foreground together; and where all blends
are equally sure the weights are equal, for which the original divides 0 by 0.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from SFDALib.adaptation.common.batch_norm import reestimate
from SFDALib.adaptation.common.patches import TargetPatches
from SFDALib.bundle.source import Source
from SFDALib.inference.predict import predict
from SFDALib.methods.intent import IntentOptions
from SFDALib.methods.outcome import Segmented
from SFDALib.progress import Progress
from SFDALib.uncertainty import entropy
from SFDALib.volume.conform import Conformed


def segment(
    model: Source,
    target: Conformed,
    source_probabilities: Tensor,
    options: IntentOptions,
    seed: int,
    progress: Progress,
) -> Segmented:
    """``p = sum_r w_r p_r``; the first blend is the source model's own prediction."""
    count = options.blends
    network = copy.deepcopy(model.network)
    reestimate(network, TargetPatches(model, [target.array]), options.batch)
    source, reestimated = (
        {name: value.clone() for name, value in one.named_buffers() if value.is_floating_point()}
        for one in (model.network, network)
    )
    rates = [number / (count - 1) for number in range(count)]
    maps, entropies = [], []
    for number, rate in enumerate(rates):
        p = source_probabilities
        if rate:
            for name, value in network.named_buffers():
                if value.is_floating_point():
                    value.copy_(source[name].lerp(reestimated[name], rate))
            p = predict(model, target.array, options, network=network)
        entropies.append(balanced_entropy(p))
        maps.append(p.half().cpu())  # half of the memory, to a thousandth
        progress("blending", number + 1, count)
    shares = weights(entropies)
    total = torch.zeros_like(source_probabilities, device="cpu")
    for share, p in zip(shares, maps, strict=True):
        total += share * p.float()
    blends = [
        {"rate": round(rate, 4), "entropy_bits": entropy, "weight": share}
        for rate, entropy, share in zip(rates, entropies, shares, strict=True)
    ]
    return Segmented(total.to(source_probabilities.device), report={"blends": blends})


def balanced_entropy(p: Tensor) -> float:
    """Mean entropy in bits of the voxels taken for background and of those taken for foreground,
    and of these two the mean; of all voxels where there is no foreground.

    Args:
        p: (K, k, j, i) probabilities.
    """
    bits, foreground = entropy(p, "bits"), p.argmax(0) > 0
    parts = [bits[where] for where in (foreground, ~foreground) if where.any()]
    return sum(float(part.mean()) for part in parts) / len(parts)


def weights(entropies: Sequence[float]) -> list[float]:
    """``softmax_r((max e - e_r) / (max e - min e))``: the surest map counts e times the least sure;
    all count alike where all are equally sure.
    """
    found = torch.tensor(entropies, dtype=torch.float64)
    extent = float(found.max() - found.min())
    return torch.softmax((found.max() - found) / (extent or 1.0), dim=0).tolist()
