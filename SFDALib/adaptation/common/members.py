"""Several adaptations that each start from the source, delivered as one ensemble."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from SFDALib.bundle import assembly
from SFDALib.bundle.description import ENSEMBLE_LIMIT
from SFDALib.bundle.source import Source
from SFDALib.errors import RequestError
from SFDALib.methods.outcome import Adapted
from SFDALib.progress import Progress


def adapt(
    model: Source,
    count: int,
    seed: int,
    progress: Progress,
    one: Callable[[int, Progress], Adapted],
) -> Adapted:
    """Adapt so many times, with seeds of their own, and average the logits of what comes out.

    Args:
        one: a seed and where to tell progress -> one adaptation from the source.

    Raises:
        RequestError: a bundle cannot hold so many sets of weights.
    """
    held = count * model.description.ensemble
    if held > ENSEMBLE_LIMIT:
        raise RequestError(
            f"option ensemble: found {count} for a model of {model.description.ensemble} sets of"
            f" weights, expected at most {ENSEMBLE_LIMIT} sets in all; lower it"
        )

    def told(number: int) -> Progress:
        def tell(stage: str, step: int, total: int, **details: Any) -> None:
            progress(stage, number * total + step, count * total, **details)

        return tell

    return together(model, [one(seed + number, told(number)) for number in range(count)])


def together(model: Source, outcomes: Sequence[Adapted]) -> Adapted:
    """One outcome of several. Its curves are means over the members that came so far, its best
    epoch is that of the member that went farthest, and a collapse of any is told first.
    """
    if len(outcomes) == 1:
        return outcomes[0]
    networks = []
    for outcome in outcomes:
        networks.append(copy.deepcopy(model.network))
        networks[-1].load_state_dict(outcome.weights)
    curves = {
        name: [
            sum(reached) / len(reached)
            for values in zip_longest(*(outcome.curves[name] for outcome in outcomes))
            if (reached := [value for value in values if value is not None])
        ]
        for name in outcomes[0].curves
    }
    collapsed = [outcome.stopped for outcome in outcomes if outcome.collapsed]
    epochs = ", ".join(str(outcome.best_epoch) for outcome in outcomes)
    notes = dict.fromkeys(note for outcome in outcomes for note in outcome.notes)
    return Adapted(
        assembly.ensemble_of(networks).state_dict(),
        curves,
        max(outcome.best_epoch for outcome in outcomes),
        (collapsed or [outcomes[0].stopped])[0],
        (*notes, f"ensemble: the members' best states are those after epochs {epochs}"),
        len(outcomes),
        bool(collapsed),
    )
