"""The automatic choice: tries methods on an image, and delivers the best result by the judge.

``ORDER`` is the one list of what is likely to help on which kind of network. The gains behind it
were measured by ``Testing/Benchmarks/trust``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from SFDALib.methods import needs
from SFDALib.methods.method import Method, Work
from SFDALib.methods.option import option
from SFDALib.methods.shared_options import InferenceOptions

GPU_SECONDS, CPU_SECONDS = 120.0, 300.0  # the limit where the option is none

# By batch normalisation (or another normalisation, or none) and by the network's dimensions: the
# methods that were measured, the most useful first. What is not listed follows in the registry's
# order. Simulated on the rows of the benchmark, the first three of (True, 2) and the judge's choice
# among them reach a mean Dice of 0.93 on brains and 0.75 on hearts; the best in hindsight of all
# methods 0.93 and 0.76, the best single method 0.93 and 0.74.
ORDER: Mapping[tuple[bool, int], tuple[str, ...]] = {
    (True, 2): (
        *("adami", "early-features", "iapc", "bn-statistics", "protocontra", "tent", "heal"),
        *("dpl", "self-training", "adaent"),
    ),
    (True, 3): (
        *("bn-statistics", "tent", "adami", "early-features", "protocontra", "iapc"),
        *("self-training", "dpl"),
    ),
    (False, 2): (
        *("adami", "early-features", "adaent", "protocontra", "iapc", "dg-tta", "self-training"),
        *("dpl", "heal"),
    ),
    (False, 3): (
        *("adami", "early-features", "dg-tta", "iapc", "protocontra", "muvi", "self-training"),
        *("upl", "dpl"),
    ),
}


def order(holds: Collection[str]) -> tuple[str, ...]:
    """The measured methods for a kind of network, the most useful first.

    Args:
        holds: ``Description.holds`` of the source model.
    """
    return ORDER[needs.BATCH_NORM in holds, 3 if needs.THREE_D in holds else 2]


@dataclass(frozen=True, kw_only=True)
class AutoOptions(InferenceOptions):
    """Options of the automatic choice; those of inference are every tried method's."""

    time_limit: float | None = option(
        None,
        "Time for an image, from reading it until the choice; a longer one lets more methods be"
        " tried.",
        1,
        1e6,
        unit="s",
        none=f"{CPU_SECONDS:g} s on a CPU, {GPU_SECONDS:g} s on a GPU",
    )

    def seconds(self, on_cpu: bool) -> float:
        """The limit in seconds."""
        if self.time_limit is None:
            return CPU_SECONDS if on_cpu else GPU_SECONDS
        return self.time_limit


METHOD = Method(
    name="auto",
    title="Automatic",
    summary="Tries the methods that fit the model, within a time limit, and delivers the best"
    " result that the judge finds better than the source model's, or else the source model's.",
    paper="that of the method whose result is delivered",
    updates="what the chosen method changes",
    needs=(),
    cost="as many methods as fit into the time limit",
    options_type=AutoOptions,
    entry="SFDALib.jobs.auto:deliver_best",
    adapts=False,
    own_work=lambda options: Work(),
    chooses=True,
)
