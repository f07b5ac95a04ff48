"""Fit the predicted Dice, and say how near it is on organs that it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from regression import fit_regression
from rows import Row, equal_shares, interval

from SFDALib.trust.levels import Delivered
from SFDALib.trust.quality import CLIP, INDICATORS, QualityModel, indicators, start

RIDGE = 0.003  # of 0.001 to 0.1 the least error on the heart and on the brain, each left out
NEAREST = 0.005  # Dice are kept this far from 0 and 1, where the logit has no end
INSIDE = (0.05, 0.95)  # percentiles of the errors on an organ that the interval spans
BINS = (0, 0.5, 0.7, 0.8, 0.9, 1)


@dataclass(frozen=True)
class Sample:
    """One segmentation: a result, or the source's of a case.

    Args:
        row: that it is from.
        of: which of the two it is.
    """

    row: Row
    of: Delivered

    @property
    def dice(self) -> float:
        return self.row.after if self.of == "result" else self.row.before

    @property
    def values(self) -> list[float | None]:
        return list(indicators(self.row.signals, self.of).values())


def samples(rows: Sequence[Row]) -> list[Sample]:
    """Every result, and the source's segmentation of every case once."""
    sources = {(row.dataset, row.case): Sample(row, "source") for row in rows}
    return [*(Sample(row, "result") for row in rows), *sources.values()]


def fit_model(rows: Sequence[Row], spread: tuple[float, float] = (0.0, 0.0)) -> QualityModel:
    """The model of the rows, each result as a run sees it and as a comparison does."""
    taken = samples([*rows, *(row.alone for row in rows)])
    x = np.array([sample.values for sample in taken], dtype=float)
    y = np.array([_within(sample.dice) for sample in taken])
    shares = equal_shares([sample.row for sample in taken])
    start_of = np.array([start(sample.row.signals) for sample in taken])
    # of what lacks to a Dice of 1, of which more of an indicator makes more
    found = fit_regression(x, 1 - y, shares, list(INDICATORS), RIDGE, CLIP, -start_of)
    found = replace(found, bias=-found.bias)
    return QualityModel(*asdict(found).values(), *spread, coverage=0.0)  # measured when held out


def spread_of(errors: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """The interval below and above a prediction that holds on every one of the organs left out.

    Args:
        errors: of each organ, on the scale of the logit, and the share of each error.
    """
    ends = [[_percentile(values, shares, part) for part in INSIDE] for values, shares in errors]
    low, high = np.array(ends).T
    return round(float(max(0, -low.min())), 6), round(float(max(0, high.max())), 6)


def fit_with_spread(rows: Sequence[Row]) -> QualityModel:
    """The model of the rows with volumes, its interval from leaving out each of their organs."""
    rows, errors = [row for row in rows if _has_volume(row)], []
    for organ in sorted({row.organ for row in rows}):
        own = [row for row in rows if row.organ == organ]
        rest = [row for row in rows if row.organ != organ]
        if own and rest:
            taken = samples([*own, *(row.alone for row in own)])
            errors.append((_errors(fit_model(rest), taken), equal_shares([s.row for s in taken])))
    return fit_model(rows, spread_of(errors))


def coverage(rows: Sequence[Row], model_of: Callable[[Row], QualityModel]) -> float:
    """The share of the true Dice inside their intervals, of what has a volume."""
    taken = samples([row.alone for row in rows if _has_volume(row)])
    inside = np.array([_inside(sample, model_of(sample.row)) for sample in taken])
    return round(float(np.average(inside, weights=equal_shares([s.row for s in taken]))), 4)


def _inside(sample: Sample, model: QualityModel) -> bool:
    found = model.predict(sample.row.signals, sample.of)
    return found is not None and found.low <= sample.dice <= found.high


def report_quality(rows: Sequence[Row], model_of: Callable[[Row], QualityModel]) -> dict[str, Any]:
    """Error, coverage and calibration, by the model of each row; results as a run sees them."""
    found: dict[str, Any] = {}
    for of in ("result", "source"):
        taken = [sample for sample in samples([row.alone for row in rows]) if sample.of == of]
        found[of] = _figures(taken, model_of)
    return found


def _figures(taken: Sequence[Sample], model_of: Callable[[Row], QualityModel]) -> dict[str, Any]:
    models = [model_of(sample.row) for sample in taken]
    logits = np.array([_logit(m, s) for m, s in zip(models, taken, strict=True)])
    true, told = np.array([sample.dice for sample in taken]), _logistic(logits)
    low = _logistic(logits - np.array([model.below for model in models]))
    high = _logistic(logits + np.array([model.above for model in models]))
    inside = (low <= true) & (true <= high)
    rows = [sample.row for sample in taken]
    shares = equal_shares(rows)
    middle = _percentile(true, shares, 0.5)

    def mean(values: np.ndarray) -> Callable[[np.ndarray], float]:
        return lambda chosen: float(np.average(values[chosen], weights=shares[chosen]))

    everything = np.arange(len(taken))
    figures = {"error": abs(told - true), "bias": told - true, "coverage": inside.astype(float)}
    return {
        "count": len(taken),
        "predicted": all(_has_volume(row) for row in rows),
        "error_of_the_median": round(mean(abs(true - middle))(everything), 4),
        "width": round(mean(high - low)(everything), 4),
        **{name: round(mean(values)(everything), 4) for name, values in figures.items()},
        **{
            f"{name}_interval": interval(rows, mean(values), 300)
            for name, values in figures.items()
        },
        "calibration": [
            {
                "predicted": [least, most],
                "count": int(here.sum()),
                "mean_predicted": round(float(told[here].mean()), 3),
                "mean_true": round(float(true[here].mean()), 3),
            }
            for least, most in pairwise(BINS)
            if (here := (told > least) & (told <= most)).any()
        ],
    }


def _has_volume(row: Row) -> bool:
    return row.signals.outside_result is not None


def _errors(model: QualityModel, taken: Sequence[Sample]) -> np.ndarray:
    """True less predicted, on the scale of the logit."""
    told = np.array([_logit(model, s) for s in taken])
    true = np.array([_within(s.dice) for s in taken])
    return np.log(true / (1 - true)) - told


def _logit(model: QualityModel, sample: Sample) -> float:
    """Of the predicted Dice."""
    signals = sample.row.signals
    return model.logit(indicators(signals, sample.of)) + start(signals)


def _within(dice: float) -> float:
    return min(max(dice, NEAREST), 1 - NEAREST)


def _logistic(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def _percentile(values: np.ndarray, shares: np.ndarray, part: float) -> float:
    """Of values that count by their shares."""
    order = np.argsort(values)
    sums = np.cumsum(shares[order]) / shares.sum()
    return float(values[order][min(int(np.searchsorted(sums, part)), len(values) - 1)])
