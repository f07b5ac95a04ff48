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

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from SFDALib.methods.method import INFERENCE_OPTIONS, Method, Option, batch_option
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Segmented
    from SFDALib.volume.conform import Conformed

METHOD = Method(
    name="intent",
    title="InTEnt",
    summary="Averages over how much of the new images' brightness and contrast the model takes on.",
    paper="Dong, Konz, Gu, Mazurowski. Medical image segmentation with InTEnt: integrated entropy"
    " weighting for single image test-time adaptation. CVPR 2024 workshop DEF-AI-MIA,"
    " arXiv 2402.09604",
    updates="nothing",
    needs=("batch-norm",),
    cost="a pass over the image for each blend, and one for the statistics",
    options=(
        batch_option(24),
        Option(
            "blends",
            6,
            "Shares of the target's statistics, evenly from 0 to 1; more take longer and change"
            " little.",
            2,
            101,
            kind="int",
        ),
        *INFERENCE_OPTIONS,
    ),
    entry="SFDALib.adaptation.intent:segment",
    adapts=False,
)


def segment(
    model: Source,
    target: Conformed,
    source_probabilities: Tensor,
    options: dict[str, Any],
    seed: int,
    progress: Progress,
) -> Segmented:
    """``p = sum_r w_r p_r``; the first blend is the source model's own prediction."""
    import copy

    from SFDALib.adaptation.common.batch_norm import settle
    from SFDALib.adaptation.common.patches import TargetPatches
    from SFDALib.inference.predict import predict
    from SFDALib.methods.outcome import Segmented

    count = options["blends"]
    network = copy.deepcopy(model.network)
    settle(network, TargetPatches(model, [target.array]), options["batch"])
    source, settled = (
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
                    value.copy_(source[name].lerp(settled[name], rate))
            p = predict(model, target.array, options, network=network)
        entropies.append(balanced_entropy(p))
        maps.append(p.half().cpu())  # half of the memory, to a thousandth
        progress("blending", number + 1, count)
    shares = weights(entropies)
    total = sum(share * p.float() for share, p in zip(shares, maps, strict=True))
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
    from SFDALib.uncertainty import entropy

    bits, foreground = entropy(p, "bits"), p.argmax(0) > 0
    parts = [bits[where] for where in (foreground, ~foreground) if where.any()]
    return sum(float(part.mean()) for part in parts) / len(parts)


def weights(entropies: Sequence[float]) -> list[float]:
    """``softmax_r((max e - e_r) / (max e - min e))``: the surest map counts e times the least sure;
    all count alike where all are equally sure.
    """
    import torch

    found = torch.tensor(entropies, dtype=torch.float64)
    extent = float(found.max() - found.min())
    return torch.softmax((found.max() - found) / (extent or 1.0), dim=0).tolist()
