"""Say what the verdict on a cohort as a whole is worth, and choose its bounds.

    python Testing/Benchmarks/trust/fit_cohort.py ROWS.jsonl [MORE.jsonl ...] [--write]

ROWS is what measure.py and frames.py wrote. All results of one setting on one data set are one
cohort; it is harmed or helped where the mean Dice changed by more than ``MARGIN``. Cohorts of one
data set share their images and their source model: the number of data sets, not that of cohorts, is
how much is known. So each family of data sets is judged

- by the rule of ``SFDALib.trust.cohort`` as it is (``rule``),
- by the same rule with bounds that are chosen on the other families alone (``held_out``),
- by a logistic regression of the same three means, fitted on the other families alone
  (``logistic``), which the rule is compared with.

``by_images`` judges random parts of the cohorts, whole patients, to tell how many images are
needed. ``images`` counts the single images that are worse though their cohort is judged better.
``--write`` writes the figures to cohort_results.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import beta, rankdata

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from SFDALib.trust.cohort import CONDITIONS, VANISHED_SHARE, Mean, means_of
from SFDALib.trust.judge import VANISHED
from SFDALib.trust.signals import Signals

RESULTS = Path(__file__).with_name("cohort_results.json")
MARGIN = 0.02  # of Dice, as in fit.py
FEWEST = 5  # images of a cohort that is looked at; the product judges from LEAST_IMAGES on
HARM_COSTS = 4  # times a refused help, where bounds are chosen
SIZES = (4, 6, 8, 12, 16, 20)  # of the random parts
PARTS = 10  # of each cohort and size
# By what a data set's name begins with: what shares source model or patients.
FAMILIES = ("kvasir-to-cvc", "cvc-to-kvasir", "brain", "cardiac", "hippocampus", "nuclei")
# Bounds to choose from: standard errors that are added, and what each feature may get worse by.
GRID = {
    "errors": (0.0, 1.0, 2.0),
    "size less expected": (0.0, 0.05, 0.1),
    "stability lost": (0.0, 0.01, 0.02),
    "entropy rise": (0.0, 0.1),
}


@dataclass(frozen=True)
class Cohort:
    """All results of one setting on one data set, or part of them.

    Args:
        dataset, setting: which.
        patients: of each image.
        changes: of Dice, of each image.
        signals: of each image.
    """

    dataset: str
    setting: str
    patients: tuple[str, ...]
    changes: np.ndarray
    signals: tuple[Signals, ...]

    @property
    def family(self) -> str:
        return next(name for name in FAMILIES if self.dataset.startswith(name))

    @property
    def change(self) -> float:
        return float(self.changes.mean())

    @property
    def harmed(self) -> bool:
        return self.change < -MARGIN

    @property
    def helped(self) -> bool:
        return self.change > MARGIN

    @cached_property
    def means(self) -> dict[str, Mean]:
        return means_of(self.signals)

    @cached_property
    def vanished(self) -> float:
        """The share of the images in which a structure vanished."""
        return float(np.mean([one.shrinkage > VANISHED for one in self.signals]))

    def part(self, size: int, random: np.random.Generator) -> Cohort:
        """About so many of the images: those of random patients."""
        chosen: list[int] = []
        for patient in random.permutation(sorted(set(self.patients))):
            chosen += [i for i, one in enumerate(self.patients) if one == patient]
            if len(chosen) >= size:
                break
        chosen = chosen[:size]
        return replace(
            self,
            patients=tuple(self.patients[i] for i in chosen),
            changes=self.changes[chosen],
            signals=tuple(self.signals[i] for i in chosen),
        )


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("rows", type=Path, nargs="+")
    arguments.add_argument("--write", action="store_true")
    chosen = arguments.parse_args()
    cohorts = [one for one in _cohorts(chosen.rows) if len(one.changes) >= FEWEST]
    changed = [one for one in cohorts if not all(signal.unchanged for signal in one.signals)]
    names = sorted({one.dataset for one in changed})
    held_out = {one.family: _chosen(changed, one.family) for one in changed}
    logistic = {one.family: _logistic(changed, one.family) for one in changed}
    deciders: dict[str, Callable[[Cohort], bool]] = {
        "rule": _adopted,
        "held_out": lambda one: _holds(one, held_out[one.family]),
        "logistic": lambda one: logistic[one.family](one) < 0.5,
    }
    summary = {
        "unchanged": len(cohorts) - len(changed),
        **{
            kind: {
                name: _worth([one for one in changed if name in (one.dataset, "all")], decide)
                for name in (*names, "all")
            }
            for kind, decide in deciders.items()
        },
        "auroc_of_harm": _auroc(changed, logistic),
        "bounds_held_out": held_out,
        "images": {
            name: _images([one for one in changed if one.dataset == name]) for name in names
        },
        "by_images": _by_images(changed),
        "failures": [
            {
                "dataset": one.dataset,
                "setting": one.setting,
                "dice_change": round(one.change, 4),
                "adopted": _adopted(one),
                "means": {
                    name: [round(m.value, 4), round(m.error, 4)] for name, m in one.means.items()
                },
            }
            for one in changed
            if (one.harmed and _adopted(one)) or (one.helped and not _adopted(one))
        ],
    }
    print(json.dumps(summary, indent=1))
    if chosen.write:
        RESULTS.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return 0


def _cohorts(paths: Iterable[Path]) -> list[Cohort]:
    """Every setting on every data set."""
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            grouped[row["dataset"], row["setting"]].append(row)
    return [
        Cohort(
            *name,
            tuple(row["patient"] for row in rows),
            np.array([row["dice_result"] - row["dice_source"] for row in rows]),
            tuple(Signals(**row["signals"]) for row in rows),
        )
        for name, rows in sorted(grouped.items())
    ]


def _adopted(one: Cohort) -> bool:
    """By the rule as it is, whatever its least number of images."""
    return _holds(one, {"errors": 1.0, **{each.feature: each.bound for each in CONDITIONS}})


def _holds(one: Cohort, bounds: Mapping[str, float]) -> bool:
    """The rule with other bounds."""
    means = one.means
    if len(means) < len(CONDITIONS) or one.vanished > VANISHED_SHARE:
        return False
    limits = {name: mean.value + bounds["errors"] * mean.error for name, mean in means.items()}
    gains = [limits[condition.feature] < 0 for condition in CONDITIONS if condition.shows_gain]
    return any(gains) and all(limit < bounds[name] for name, limit in limits.items())


def _chosen(cohorts: Sequence[Cohort], family: str) -> dict[str, float]:
    """The bounds that cost least on the other families, each counting the same; of equal ones the
    strictest.
    """
    others: dict[str, list[Cohort]] = defaultdict(list)
    for one in cohorts:
        if one.family != family:
            others[one.family].append(one)

    def cost(bounds: Mapping[str, float]) -> float:
        total = 0.0
        for own in others.values():
            harm = [_holds(one, bounds) for one in own if one.harmed]
            help_ = [not _holds(one, bounds) for one in own if one.helped]
            total += HARM_COSTS * float(np.mean(harm or [0])) + float(np.mean(help_ or [0]))
        return total

    candidates = [dict(zip(GRID, values, strict=True)) for values in product(*GRID.values())]
    return min(candidates, key=lambda one: (round(cost(one), 6), -one["errors"], sum(one.values())))


def _logistic(cohorts: Sequence[Cohort], family: str) -> Callable[[Cohort], float]:
    """The probability of harm by the other families, with weights of at least 0."""
    own = [one for one in cohorts if one.family != family and (one.harmed or one.helped)]
    x, y = np.array([_values(one) for one in own]), np.array([one.harmed for one in own], float)
    centre, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    share = 1 / np.array(
        [sum(a.family == b.family and a.harmed == b.harmed for b in own) for a in own]
    )
    share /= share.sum()

    def score(values: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        return parameters[0] + np.clip((values - centre) / scale, -2, 2) @ parameters[1:]

    def loss(parameters: np.ndarray) -> float:
        s = score(x, parameters)
        return float(share @ (np.logaddexp(0, s) - y * s) + 0.02 * (parameters[1:] ** 2).sum())

    bounds = [(None, None), *[(0, None)] * x.shape[1]]
    found = minimize(loss, np.zeros(1 + x.shape[1]), bounds=bounds, method="L-BFGS-B").x
    return lambda one: float(1 / (1 + np.exp(-score(_values(one), found))))


def _values(one: Cohort) -> np.ndarray:
    """The means; 0 for what was not measured."""
    means = one.means
    names = (condition.feature for condition in CONDITIONS)
    return np.array([means[name].value if name in means else 0.0 for name in names])


def _worth(cohorts: Sequence[Cohort], adopted: Callable[[Cohort], bool]) -> dict[str, Any]:
    """Errors with 95 % intervals (Clopper-Pearson, as if the cohorts were independent)."""
    decided = [(one, adopted(one)) for one in cohorts]
    return {
        "cohorts": len(decided),
        "harmed": sum(one.harmed for one, _ in decided),
        "helped": sum(one.helped for one, _ in decided),
        "adopted": sum(yes for _, yes in decided),
        "harmed_among_adopted": _share([one.harmed for one, yes in decided if yes]),
        "harmed_adopted": _share([yes for one, yes in decided if one.harmed]),
        "helped_refused": _share([not yes for one, yes in decided if one.helped]),
    }


def _share(values: Sequence[bool]) -> dict[str, Any] | None:
    count, of = sum(values), len(values)
    if not of:
        return None
    low = beta.ppf(0.025, count, of - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, of - count) if count < of else 1.0
    return {"count": count, "of": of, "interval": [round(float(low), 3), round(float(high), 3)]}


def _auroc(cohorts: Sequence[Cohort], logistic: Mapping[str, Callable]) -> float:
    """The chance that a harmed cohort has the higher held-out probability than a helped one."""
    own = [one for one in cohorts if one.harmed or one.helped]
    ranks = rankdata([logistic[one.family](one) for one in own])
    harmed = np.array([one.harmed for one in own])
    count = int(harmed.sum())
    above = float(ranks[harmed].sum()) - count * (count + 1) / 2
    return round(above / (count * (len(own) - count)), 4)


def _images(cohorts: Sequence[Cohort]) -> dict[str, Any] | None:
    """How the single images of adopted cohorts fare."""
    changes = [one.changes for one in cohorts if _adopted(one)]
    if not changes:
        return None
    together = np.concatenate(changes)
    return {
        "cohorts": len(changes),
        "worse": round(float((together < -MARGIN).mean()), 3),
        "better": round(float((together > MARGIN).mean()), 3),
        "mean_change": round(float(together.mean()), 4),
    }


def _by_images(cohorts: Sequence[Cohort]) -> dict[str, Any]:
    """The worth of the rule on random parts."""
    random = np.random.default_rng(0)
    found = {}
    for size in SIZES:
        parts = [
            one.part(size, random)
            for one in cohorts
            if len(one.changes) > size
            for _ in range(PARTS)
        ]
        found[str(size)] = _worth(parts, _adopted)
    return found


if __name__ == "__main__":
    sys.exit(main())
