"""The results that measure.py measured, and how much each of them counts."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from settings import usual_settings

from SFDALib.trust.signals import Signals

MARGIN = 0.02  # of Dice: more is harm, or help
ORGANS = {"kvasir": "polyp", "cvc": "polyp"}  # by the first word of a data set's name


@dataclass(frozen=True)
class Row:
    """One result: where it is from, its Dice, its signals.

    Args:
        before, after: Dice of the source's segmentation and of the result.
        kind: of network, as in "2D batch".
    """

    dataset: str
    case: str
    patient: str
    method: str
    setting: str
    kind: str
    before: float
    after: float
    signals: Signals

    @property
    def organ(self) -> str:
        """Data sets of one organ share patients or source models, and are left out together."""
        first = self.dataset.split("-")[0]
        return ORGANS.get(first, first)

    @property
    def harmful(self) -> bool:
        return self.after < self.before - MARGIN

    @property
    def helpful(self) -> bool:
        return self.after > self.before + MARGIN

    @property
    def worse(self) -> float:
        """1 for harm, 0 for help; what is neither counts half to either side."""
        return (1 + self.harmful - self.helpful) / 2

    @property
    def changed(self) -> bool:
        return not self.signals.unchanged

    @property
    def usual(self) -> bool:
        """Whether it is what the method delivers by its usual setting, not driven into harm."""
        return self.setting in usual_settings(self.dataset)

    @property
    def alone(self) -> Row:
        """As a run sees it, which knows of no other method."""
        return replace(self, signals=replace(self.signals, others=None))


def read_rows(path: Path) -> list[Row]:
    """All lines of a file."""
    return [_row(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _row(values: dict[str, Any]) -> Row:
    network = values["network"]
    return Row(
        values["dataset"],
        values["case"],
        values["patient"],
        values["method"],
        values["setting"],
        f"{network['dimensions']}D {network['normalisation']}",
        values["dice_source"],
        values["dice_result"],
        Signals(**values["signals"]),
    )


def equal_shares(rows: Sequence[Row]) -> np.ndarray:
    """The share of each: all organs count the same, in each its patients, of each its results."""
    patients = Counter((row.organ, row.patient) for row in rows)
    organs = Counter(organ for organ, _ in patients)
    shares = [1 / patients[row.organ, row.patient] / organs[row.organ] for row in rows]
    return np.array(shares) / len(organs)


def interval(
    rows: Sequence[Row], figure: Callable[[np.ndarray], float], draws: int = 1000
) -> list[float] | None:
    """The 95 % interval of a figure, by drawing patients with replacement.

    Args:
        rows: whose patients are drawn.
        figure: of the indices of rows; NaN where it has none.
        draws: how often.

    Returns:
        Both ends; None for fewer than two patients, or if no draw has a figure.
    """
    places: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        places.setdefault((row.organ, row.patient), []).append(index)
    if len(places) < 2:
        return None
    random, groups = np.random.default_rng(0), [np.array(group) for group in places.values()]
    drawn = [
        figure(np.concatenate([groups[i] for i in random.integers(len(groups), size=len(groups))]))
        for _ in range(draws)
    ]
    known = [value for value in drawn if not np.isnan(value)]
    if not known:
        return None
    return [round(float(end), 4) for end in np.percentile(known, [2.5, 97.5])]
