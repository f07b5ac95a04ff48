"""The description of a method, for the registry, the command line, the panel and documentation.

Standard library alone. Each method has one file here, which holds its options and its ``METHOD``;
the code that ``METHOD.entry`` names stands in ``adaptation`` or ``heal``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from SFDALib.errors import RequestError
from SFDALib.methods.needs import REMEDIES
from SFDALib.methods.option import PRESETS, RECOMMENDED, Option, Value, described
from SFDALib.methods.shared_options import InferenceOptions

JUDGE_PASSES = 2  # of each network that is judged
CUSTOM = "custom"  # values of options that are those of no preset


@dataclass(frozen=True)
class Work:
    """What a method computes for one image, in passes of a network over it.

    Args:
        passes: without gradients.
        epochs: with gradients, for updates of weights.
        draws: evaluations of the diffusion network.
        patches: windows of any image with gradients, instead of all of this one in epochs.
        views: forward passes of each patch with gradients, all of which are held at once.
        sliding: whether the windows of an epoch overlap as those of inference do.
        networks: adapted networks, each of which the judge evaluates.
        samples: generated images, each of which the judge segments.
    """

    passes: int = 0
    epochs: int = 0
    draws: int = 0
    patches: int = 0
    views: int = 1
    sliding: bool = False
    networks: int = 0
    samples: int = 0


def training_work(
    epochs: int,
    *,
    networks: int = 1,
    patches: int = 0,
    views: int = 1,
    extra_passes: int = 0,
    sliding: bool = False,
) -> Work:
    """The work of a method that trains: an evaluation after each epoch, and the result.

    Args:
        epochs: of one network.
        networks: trained one after the other, each from the source.
        patches: random windows that an epoch has instead of the images; 0: the images.
        views: forward passes of each patch.
        extra_passes: over the image without gradients, such as for pseudo-labels.
        sliding: as of ``Work``.
    """
    epochs *= networks
    return Work(
        passes=networks + epochs + extra_passes,
        epochs=0 if patches else epochs,
        patches=patches * epochs,
        views=views,
        sliding=sliding,
        networks=networks,
    )


@dataclass(frozen=True)
class Method:
    """The description of one method.

    Args:
        name: as typed; lower case with hyphens.
        title: as shown.
        summary: one sentence for clinicians.
        paper: authors, title, where, year.
        updates: which weights change; "nothing" where none do.
        needs: what a bundle must hold: names of ``needs``.
        cost: what it takes, in words.
        options_type: the dataclass of its options; its defaults are the published values.
        entry: "module:name" of its code. A method that updates weights names a subclass of
            ``adaptation.common.recipe.Recipe``, or a function
            ``(model, images, options, seed, progress) -> Adapted``; another method names a function
            ``(model, target, source_probabilities, options, seed, progress) -> Segmented``.
        adapts: whether it updates weights.
        own_work: what it computes beyond the source model's own segmentation, by its options.
        judged: whether its result differs from the source model's own and is judged.
        chooses: whether it tries other methods and delivers the result of one of them. Its entry is
            then a function ``(image, folder, gate, extra) -> report``, as ``jobs.run.deliver``.
        recommended: the recommended values of the options whose published ones are not recommended.
    """

    name: str
    title: str
    summary: str
    paper: str
    updates: str
    needs: tuple[str, ...]
    cost: str
    options_type: type[InferenceOptions]
    entry: str
    adapts: bool
    own_work: Callable[[Any], Work]
    judged: bool = True
    chooses: bool = False
    recommended: Mapping[str, Value] = field(default_factory=dict)

    @property
    def can_adapt_once(self) -> bool:
        """Whether it, or what it chooses, can adapt weights to several images together."""
        return self.adapts or self.chooses

    @property
    def options(self) -> tuple[Option, ...]:
        """The descriptions of its options, in the order in which they are shown."""
        return tuple(
            replace(option, recommended=self.recommended.get(option.name, option.published))
            for option in described(self.options_type)
        )

    def preset(self, name: str) -> dict[str, Value]:
        """Every option's value in one of ``PRESETS``."""
        return {option.name: option.value(name) for option in self.options}

    def preset_of(self, values: Mapping[str, object]) -> str:
        """The first of ``PRESETS`` whose values these are, or ``CUSTOM``.

        Args:
            values: of every option.
        """
        return next((name for name in PRESETS if self.preset(name) == values), CUSTOM)

    def values(self, given: Mapping[str, object], preset: str = RECOMMENDED) -> Any:
        """The options with the given values, checked, and those of the preset for the rest.

        Args:
            given: values by the option's name.
            preset: one of ``PRESETS``.

        Returns:
            An instance of ``options_type``.

        Raises:
            RequestError: an unknown option or a value that it does not accept.
        """
        known = {option.name: option for option in self.options}
        unknown = [name for name in given if name not in known]
        if unknown:
            raise RequestError(
                f'method {self.name}: found the option "{unknown[0][:60]}", expected one of'
                f" {', '.join(known)}"
            )
        checked: dict[str, Any] = {name: known[name].check(given[name]) for name in given}
        return self.options_type(**{**self.preset(preset), **checked})

    def work(self, options: Any) -> Work:
        """What these options ask for, for estimates of time.

        The passes include the source model's segmentation, and the judge's: ``JUDGE_PASSES`` of the
        source and of each adapted network, and one over each generated image.
        """
        own = self.own_work(options)
        judging = JUDGE_PASSES * (1 + own.networks) + own.samples if self.judged else 0
        return replace(own, passes=1 + own.passes + judging)

    def lacks(self, holds: Collection[str]) -> str | None:
        """Why a bundle cannot serve this method; None if it can.

        Args:
            holds: what the bundle has of the names in ``needs``.
        """
        missing = [REMEDIES[need] for need in self.needs if need not in holds]
        return f"needs {' and '.join(missing)}" if missing else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for ``methods --json``."""
        return {
            "name": self.name,
            "title": self.title,
            "summary": self.summary,
            "paper": self.paper,
            "updates": self.updates,
            "needs": list(self.needs),
            "cost": self.cost,
            "adapts": self.adapts,
            "options": [option.to_dict() for option in self.options],
        }
