"""Fit the judge and the predicted Dice, and say what they are worth on unseen organs and networks.

    python Testing/Benchmarks/trust/fit.py ROWS.jsonl [--ship]

ROWS is what measure.py wrote. Every organ is judged by coefficients that were fitted on the other
organs alone, and every kind of network by those that were fitted on the other kinds; ``--ship``
writes those fitted on everything into the package, with the held-out figures in results.json.

In the fit each organ counts the same, in it what is worse as much as what is better (how often harm
comes is a matter of what was measured), and on either side each patient. What is neither by the
margin counts half to either side: nothing is gained by adopting it. Each result counts twice: once
as a run sees it, once as a comparison does, which knows the other methods' results. Single frames
are fitted on, too, though nothing is adopted on them: without them the heart is judged worse.

Data sets on which the source model fails altogether (mean Dice below ``FAILED``) are judged, and
fitted on never: nothing is to be gained there by what these methods do.

The line ``adopt`` is the highest of LINES under which, on every organ, judged by a fit without it,
at most ``HARMFUL`` of what is better is harmful. For the held-out figures of an organ the line is
chosen on the other organs, and for those of a kind of network without that kind.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fit_quality import coverage, fit_with_spread, report_quality
from regression import fit_regression
from rows import Row, equal_shares, interval, read_rows
from scipy.stats import rankdata

from SFDALib.trust.features import FEATURES, features
from SFDALib.trust.judge import (
    CLIP,
    COEFFICIENTS,
    VANISHED,
    Coefficients,
    can_adopt,
    is_plausible,
    judge,
)
from SFDALib.trust.levels import LEVELS
from SFDALib.trust.quality import QUALITY, QualityModel
from SFDALib.trust.verdict import Verdict

RESULTS = Path(__file__).with_name("results.json")
LINES = tuple(round(0.2 + 0.025 * step, 3) for step in range(9))  # 0.2 to 0.4
HARMFUL = 0.05  # of what is delivered, at most
USABLE = 0.5  # Dice of a result that is worth having
FAILED = 0.05  # mean Dice of the source's segmentations
KEEP = 0.5  # from this on the result is no better
RIDGE = 0.005  # of 0.005 and 0.02; chosen on brain, heart and hippocampus, each left out


@dataclass(frozen=True)
class Fitted:
    """What was fitted on some rows."""

    harm: Coefficients
    quality: QualityModel

    def judge(self, row: Row) -> Verdict:
        """The verdict, of the signals alone."""
        return judge(row.signals, coefficients=self.harm, qualities=self.quality)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("rows", type=Path)
    arguments.add_argument("--ship", action="store_true")
    chosen = arguments.parse_args()
    rows = read_rows(chosen.rows)
    used = _used(rows)
    without = {organ: fit_all(used, organ) for organ in _names(rows)}
    kinds = sorted({row.kind for row in rows})
    of_others = {kind: [row for row in used if row.kind != kind] for kind in kinds}
    # the interval and the line need two organs
    without_kind = {
        kind: fit_all(own)
        for kind, own in of_others.items()
        if len({row.organ for row in own if can_adopt(row.signals)}) > 1
    }
    covered = coverage(used, lambda row: without[row.organ].quality)
    shipped = fit_all(used)
    shipped = replace(shipped, quality=replace(shipped.quality, coverage=covered))
    by_dataset: Callable[[Row], str] = lambda row: row.dataset  # noqa: E731
    summary = {
        "lines": {name: one.harm.adopt for name, one in [*without.items(), ("all", shipped)]},
        "organ_left_out": _of_each(rows, by_dataset, lambda row: without[row.organ]),
        "organ_left_out_by_kind": _of_each(
            rows, lambda row: row.kind, lambda row: without[row.organ]
        ),
        "kind_left_out": _of_each(
            [row for row in rows if row.kind in without_kind],
            lambda row: f"{row.kind}: {row.dataset}",
            lambda row: without_kind[row.kind],
        ),
        "fitted_on_the_same": _of_each(rows, by_dataset, lambda _: shipped),
    }
    _print(summary, shipped)
    if chosen.ship:
        counts = {name: sum(row.organ == name for row in used) for name in _names(used)}
        told = {"fitted_by": "Testing/Benchmarks/trust/fit.py", "rows": counts}
        _write(COEFFICIENTS, {**told, "coefficients": asdict(shipped.harm)})
        _write(QUALITY, {**told, "coefficients": asdict(shipped.quality)})
        _write(RESULTS, summary)
    return 0


def _used(rows: Sequence[Row]) -> list[Row]:
    """The rows of data sets on which the source model does not fail altogether."""
    before: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        before[row.dataset].append(row.before)
    return [row for row in rows if np.mean(before[row.dataset]) >= FAILED]


def fit_all(rows: Sequence[Row], left_out: str = "") -> Fitted:
    """Both, on the rows of all organs but one."""
    kept = [row for row in rows if row.organ != left_out]
    return Fitted(fit(kept, choose_line(rows, left_out)), fit_with_spread(kept))


def fit(rows: Sequence[Row], line: float) -> Coefficients:
    """The chance of harm."""
    rows = [row for row in rows if row.changed and row.signals.shrinkage <= VANISHED]
    rows = [*rows, *(row.alone for row in rows)]
    x = np.array([_values(row) for row in rows], dtype=float)
    sides, shares = (1.0, 0.0), _shares(rows)
    found = fit_regression(
        np.concatenate([x, x]), np.repeat(sides, len(rows)), shares, list(FEATURES), RIDGE, CLIP
    )
    return Coefficients(*asdict(found).values(), adopt=line, keep=KEEP)


def choose_line(rows: Sequence[Row], left_out: str = "") -> float:
    """The highest of LINES at which few enough of the better ones harm, on every organ but one.

    Each is judged by a fit on all others.
    """
    allowed = set(LINES)
    for organ in _names(rows):
        own = [row.alone for row in rows if row.organ == organ and row.changed and _open(row)]
        if not own or organ == left_out:
            continue
        fitted, shares = _without(tuple(rows), organ), equal_shares(own)
        harm = np.array([fitted.harm(row.signals) for row in own])
        harmful = np.array([row.harmful for row in own])
        for line in LINES:
            better = harm < line
            if better.any() and np.average(harmful[better], weights=shares[better]) > HARMFUL:
                allowed.discard(line)
    # a line above one that is not allowed is allowed by chance
    refused = [line for line in LINES if line not in allowed]
    return max((line for line in allowed if line < min(refused, default=1)), default=LINES[0])


@cache
def _without(rows: tuple[Row, ...], organ: str) -> Coefficients:
    """Fitted on the rows of all other organs."""
    return fit([row for row in rows if row.organ != organ], KEEP)


@cache
def _values(row: Row) -> tuple[float | None, ...]:
    return tuple(features(row.signals).values())


def _open(row: Row) -> bool:
    """Whether the result is delivered if the chance of harm is low."""
    signals = row.signals
    return can_adopt(signals) and is_plausible(signals)


def _shares(rows: Sequence[Row]) -> np.ndarray:
    """Shares of all rows as worse ones, then of all as better ones, that sum to 1: those of each
    organ alike, in it those of both sides, and on each side those of each patient.
    """
    organ, equal = np.array([row.organ for row in rows]), equal_shares(rows)
    worse = np.array([row.worse for row in rows])
    sides = [worse * equal, (1 - worse) * equal]
    for name in np.unique(organ):
        for side in sides:
            side[organ == name] /= max(side[organ == name].sum(), 1e-12)
    shares = np.concatenate(sides)
    return shares / shares.sum()


def _of_each(
    rows: Sequence[Row], name_of: Callable[[Row], str], fitted: Callable[[Row], Fitted]
) -> dict[str, Any]:
    """A report on the rows of each name, by what was fitted for each row."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[name_of(row)].append(row)
    return {name: report(own, fitted) for name, own in sorted(groups.items())}


def report(rows: Sequence[Row], fitted: Callable[[Row], Fitted]) -> dict[str, Any]:
    """What judge and predicted Dice are worth on these results."""
    changed = [row for row in rows if row.changed]
    usual = [row for row in changed if row.usual]
    return {
        "cases": len({row.case for row in rows}),
        "patients": len({row.patient for row in rows}),
        "unchanged": len(rows) - len(changed),
        "run": gate([row.alone for row in changed], fitted),
        "compared": gate(changed, fitted),
        "usual_run": gate([row.alone for row in usual], fitted),
        "dice": _dice([row for row in rows if row.usual], fitted),
        "quality": report_quality(rows, lambda row: fitted(row).quality),
    }


def gate(rows: Sequence[Row], fitted: Callable[[Row], Fitted]) -> dict[str, Any]:
    """How well harm is told from help, and what is delivered; intervals by patient."""
    if not rows:
        return {"results": 0}
    verdicts = [fitted(row).judge(row) for row in rows]
    harm = np.array([verdict.harm for verdict in verdicts])
    harmful, helpful = (np.array([getattr(r, n) for r in rows]) for n in ("harmful", "helpful"))
    usable = np.array([row.after >= USABLE for row in rows])
    delivered = np.array([verdict.delivered == "result" for verdict in verdicts])
    decisions = [verdict.decision for verdict in verdicts]
    figures: dict[str, Callable[[np.ndarray], float]] = {
        "auroc_of_harm": lambda i: _auroc(harm[i], harmful[i], helpful[i]),
        "harmful_among_delivered": lambda i: _share(harmful[i], delivered[i]),
        "helpful_refused": lambda i: _share(~delivered[i], helpful[i]),
        "usable_refused": lambda i: _share(~delivered[i], helpful[i] & usable[i]),
    }
    everything = np.arange(len(rows))
    return {
        "results": len(rows),
        "harmful": int(harmful.sum()),
        "helpful": int(helpful.sum()),
        "decisions": {name: decisions.count(name) for name in LEVELS},
        "harmful_delivered": int((harmful & delivered).sum()),
        "helpful_delivered": int((helpful & delivered).sum()),
        **{name: _rounded(figure(everything)) for name, figure in figures.items()},
        **{f"{name}_interval": interval(rows, figure) for name, figure in figures.items()},
    }


def _dice(rows: Sequence[Row], fitted: Callable[[Row], Fitted]) -> dict[str, Any]:
    """Mean Dice over the cases: the source's, each method's and what is delivered of it, the
    judge's choice among the methods, and the best of all with the source's by the reference.
    """
    cases: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        cases[row.case].append(row)
    chosen, oracle, levels = [], [], list(LEVELS)
    for own in cases.values():
        verdicts = [(fitted(row).judge(row), row) for row in own]
        better = [
            (levels.index(v.decision), v.harm, row.after)
            for v, row in verdicts
            if v.delivered == "result"
        ]
        chosen.append(min(better)[-1] if better else own[0].before)
        oracle.append(max(own[0].before, *(row.after for row in own)))
    methods = {}
    for name in sorted({row.method for row in rows}):
        own = [row for row in rows if row.method == name]
        delivered = [fitted(row).judge(row.alone).delivered == "result" for row in own]
        gated = [row.after if yes else row.before for row, yes in zip(own, delivered, strict=True)]
        methods[name] = {
            "cases": len(own),
            "source": _mean(row.before for row in own),
            "result": _mean(row.after for row in own),
            "delivered": _mean(gated),
        }
    return {
        "cases": len(cases),
        "source": _mean(own[0].before for own in cases.values()),
        "methods": methods,
        "chosen_by_judge": _mean(chosen),
        "oracle": _mean(oracle),
    }


def _auroc(score: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    """The chance that a harmful result scores higher than a helpful one; NaN without both."""
    told = positive | negative
    ranks, count, rest = rankdata(score[told]), int(positive.sum()), int(negative.sum())
    if not count or not rest:
        return np.nan
    above = ranks[positive[told]].sum() - count * (count + 1) / 2
    return float(above / (count * rest))


def _share(values: np.ndarray, among: np.ndarray) -> float:
    return float(values[among].mean()) if among.any() else np.nan


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return round(float(np.mean(found)), 4) if found else None


def _names(rows: Sequence[Row]) -> list[str]:
    return sorted({row.organ for row in rows})


def _print(summary: dict[str, Any], shipped: Fitted) -> None:
    """A line a data set, and the weights."""
    for part in ("organ_left_out", "organ_left_out_by_kind", "kind_left_out"):
        print(part)
        for name, own in summary[part].items():
            told = {key: value for key, value in own["run"].items() if key != "results"}
            quality = {
                of: [own["quality"][of][key] for key in ("error", "coverage", "width")]
                for of in ("result", "source")
            }
            print(f"  {name}: {told}\n    quality {quality}")
    print("lines", summary["lines"], "coverage", shipped.quality.coverage)
    for one in (shipped.harm, shipped.quality):
        print({name: round(w, 2) for name, w in one.weights.items() if w >= 0.005})


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
