"""Minimise the entropy of the predictions under a class-ratio prior: what AdaMI and AdaEnt share.

All weights are trained on the target images alone, by Adam, as published. Beyond the papers: the
ratio may be that of the whole volume, which needs no image-level tags; the state that is returned
is the best by ``watch`` (the papers choose by target labels); a collapsing adaptation is stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from SFDALib.methods.method import COMMON_OPTIONS, Option, choice, training_options
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from SFDALib.adaptation.common.loop import Recipe, Setting
    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Adapted
    from SFDALib.volume.conform import Conformed

OPTIONS = (
    *training_options(epochs=100, learning_rate=1e-6, batch=24),
    Option("weight_decay", 1e-4, "L2 penalty in Adam.", 0, 1),
    Option("lr_decay", 0.9, "Factor of the learning rate every lr_decay_epochs.", 0, 1),
    Option("lr_decay_epochs", 20, "Epochs between two decays.", 1, 10000, kind="int"),
    Option("entropy_weight", 1.0, "Weight of the entropy term.", 0, 1000),
    Option("prior_weight", 1.0, "Weight of the class-ratio term.", 0, 1000),
    Option(
        "class_weights",
        "auto",
        'Weights of the classes in the entropy, background first, such as "0.1,0.9"; auto takes'
        " the inverse of the prior ratios.",
        kind="text",
    ),
    Option(
        "prior",
        "bundle",
        "Size of each class: bundle, or one value a class separated by commas, in ml or as a ratio"
        ' of the image, such as "1400 ml" or "0.2". The true size, typed, is the papers\' oracle,'
        " for study alone.",
        kind="text",
    ),
    choice(
        "presence",
        ("volume", "select", "notag", "tags", "all"),
        "How it is known which slices show a class. volume: it need not be, as the ratio is that of"
        " the whole volume, of which slices outside the batch keep the ratio that was predicted"
        " last (a single slice is taken to show every class); select trusts the source model's"
        " clear cases; notag drops classes that are hardly predicted; tags are typed; all assumes"
        " every class everywhere.",
    ),
    Option(
        "presence_threshold",
        0.02,
        "Share of an image above which a prediction counts as clear (select, notag).",
        0,
        1,
    ),
    Option(
        "tags",
        None,
        "Presence per slice, such as 0011, for presence=tags.",
        kind="text",
        optional=True,
    ),
    choice("ratio", ("maxnorm", "mean"), "Predicted class ratio: the code's, or the paper's mean."),
    *COMMON_OPTIONS,
)


def minimise(
    model: Source,
    images: Sequence[Conformed],
    options: dict[str, Any],
    seed: int,
    progress: Progress,
    prior_term: Callable[[Tensor, Tensor, Tensor | None], Tensor],
) -> Adapted:
    """Adapt a copy of the model's network to the images.

    ``L = entropy_weight * weighted_entropy + prior_weight * prior_term(estimate, prior)``
    """
    from SFDALib.adaptation.common import loop

    method = partial(recipe, prior_term=prior_term)
    return loop.run(model, images, options, seed, progress, method)


def recipe(
    setting: Setting, prior_term: Callable[[Tensor, Tensor, Tensor | None], Tensor]
) -> Recipe:
    """All weights, against the entropy and the distance of the class ratios from the prior."""
    import torch

    from SFDALib.adaptation.common import losses
    from SFDALib.adaptation.common.loop import Recipe
    from SFDALib.adaptation.common.prior import VolumeRatios

    network, patches, options = setting.network, setting.patches, setting.options
    device = setting.model.device
    priors, keep, note = _priors(setting)
    weights = _class_weights(options["class_weights"], priors).to(device)
    volumes = VolumeRatios(patches.image_of) if options["presence"] == "volume" else None

    def ratio(p: Tensor) -> Tensor:
        return losses.class_ratio(p, options["ratio"])

    def begin(epoch: int) -> None:
        if epoch or not volumes:
            return
        network.eval()
        with torch.no_grad():
            for indices in patches.ordered(options["batch"]):
                volumes.renew(indices, ratio(setting.probabilities(patches.batch(indices))))

    def loss(indices: list[int]) -> Tensor:
        p = setting.probabilities(patches.batch(indices))
        estimate, prior, used = ratio(p), priors[indices].to(device), keep[indices].to(device)
        if volumes:
            estimate = volumes.estimate(indices, estimate)
            prior, used = prior[:1].expand_as(estimate), None
        if options["presence"] == "notag":
            used = _hardly_predicted(p, options["presence_threshold"])
        return options["entropy_weight"] * losses.weighted_entropy(p, weights) + options[
            "prior_weight"
        ] * prior_term(estimate, prior, used)

    return Recipe(
        loss=loss,
        optimiser=torch.optim.Adam(
            network.parameters(), options["learning_rate"], weight_decay=options["weight_decay"]
        ),
        mode=lambda: network.train(options["bn"] == "train"),
        begin=begin,
        # the original decays after epochs 20, 40, ... counted from 0: its first period is longer
        rate=lambda epoch: options["lr_decay"] ** (max(epoch - 1, 0) // options["lr_decay_epochs"]),
        notes=note,
    )


def _priors(setting: Setting) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Prior (N, K) and use (N, K) of every patch, and what to say of them."""
    import torch

    from SFDALib.adaptation.common import prior

    model, images, patches = setting.model, setting.images, setting.patches
    options, description = setting.options, setting.model.description
    present = torch.ones(len(patches), description.classes - 1, dtype=torch.bool)
    used = torch.ones(len(patches), dtype=torch.bool)
    shown = [len(patches) / len(images)] * (description.classes - 1)
    if options["presence"] == "tags":
        present = prior.read_tags(options["tags"] or "", len(patches), description.classes)
        shown = (present.sum(dim=0) / len(images)).tolist()
    elif options["presence"] in ("select", "notag"):
        with torch.no_grad():
            ratios = torch.cat(  # (N, K) of the source's own labels
                [
                    _hard_ratios(setting.probabilities(patches.batch(indices), model.network)).cpu()
                    for indices in patches.ordered(options["batch"])
                ]
            )
        threshold = options["presence_threshold"]
        shown = ((ratios[:, 1:] > threshold).sum(dim=0) / len(images)).tolist()
        if options["presence"] == "select":
            present, used = prior.selected(ratios, threshold)
    spacing = images[0].geometry.spacing_kji
    window = patches.size if len(patches.size) == 3 else (1, *patches.size)
    patch_mm = [n * mm for n, mm in zip(window, spacing, strict=True)]
    volumes = any(image.array.shape[1] > 1 for image in images)
    whole = options["presence"] == "volume" and volumes
    full = prior.class_ratios(options["prior"], description, patch_mm, shown, whole)
    priors = prior.image_priors(full, present)
    keep = used[:, None].float().expand(-1, description.classes)
    shares = ", ".join(
        f"{label.name} {100 * float(ratio):.1f} %"
        for label, ratio in zip(description.labels, full[1:], strict=True)
    )
    note = f"prior: {shares} of {'the whole volume' if whole else 'a patch that shows it'}"
    if not whole:
        positive = int(present.any(1).sum())
        note += f"; used on {int(used.sum())} of {len(patches)} patches, {positive} positive"
    return priors, keep, (note,)


def _hard_ratios(p: Tensor) -> Tensor:
    """Share of each class among the arg-max labels of each image, ``(B, K)``."""
    import torch

    labels = p.argmax(1).flatten(1)
    return torch.stack([(labels == k).float().mean(1) for k in range(p.shape[1])], dim=1)


def _hardly_predicted(p: Tensor, threshold: float) -> Tensor:
    """NoTag: 0 for classes of an image whose hard ratio is at most the threshold, and for the
    background where the whole foreground is.
    """
    ratios = _hard_ratios(p)
    keep = ratios > threshold
    keep[:, 0] = ratios[:, 1:].sum(1) > threshold
    return keep.float()


def _class_weights(text: str, priors: Tensor) -> Tensor:
    """The weights typed, or the inverse mean prior sizes, normalised."""
    import torch

    from SFDALib.errors import RequestError

    classes = priors.shape[1]
    if text == "auto":
        inverse = 1 / priors.mean(dim=0).clamp(min=1e-4)
        return inverse / inverse.sum()
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) != classes or min(values, default=-1) < 0:
        raise RequestError(
            f'option class_weights: found "{text[:60]}", expected auto or {classes} numbers'
            " separated by commas, background first"
        )
    return torch.tensor(values)
