"""Fit the judge, and say what it is worth on data that it was not fitted on.

    python Testing/Benchmarks/trust/fit.py ROWS.jsonl [--ship]

ROWS is what measure.py wrote. Every family of data sets (polyps, heart, brain) is judged by
coefficients that were fitted on the other families alone; ``--ship`` also writes those fitted on
all of them into the package, with the held-out figures beside them in results.json.

Only what may be adopted is learned from: single frames are judged, and fitted on never. In the fit
each family counts the same, and within it what is worse as much as what is better, since how often
harm comes is a matter of what was measured. What is neither by the margin counts half to either
side: nothing is gained by adopting it. Each result counts twice: once as a run sees it, once as a
comparison does, which knows the other methods' results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from measure import usual_settings

from SFDALib.trust.features import FEATURES, features
from SFDALib.trust.judge import (
    CLIP,
    COEFFICIENTS,
    VANISHED,
    Coefficients,
    can_adopt,
    judge,
)
from SFDALib.trust.signals import Signals

RESULTS = Path(__file__).with_name("results.json")
FAMILIES = {
    "brain-t1w": "brain",
    "cardiac-cine": "cardiac",
    "kvasir-to-cvc": "polyp",
    "cvc-to-kvasir": "polyp",
}
MARGIN = 0.02  # of Dice: more is harm, or help
# Below this probability of harm a result is adopted: of LINES the highest under which at most 5 %
# of what is adopted harms, of the heart and of the brain, each judged by a fit without it.
ADOPT = 0.3
KEEP = 0.5  # from this on the source's is kept without a second thought
LINES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)  # to choose ADOPT from
# Penalty of a squared weight, per unit of mean log loss: of 0.001 to 0.1 the best for the heart and
# for the brain, each by leaving its patients out one by one.
RIDGE = 0.02


@dataclass(frozen=True)
class Row:
    """One result: its place, its Dice, its signals."""

    dataset: str
    case: str
    patient: str
    method: str
    setting: str
    before: float
    after: float
    signals: Signals

    @property
    def family(self) -> str:
        return FAMILIES.get(self.dataset, self.dataset)

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
    def usual(self) -> bool:
        """Whether it is what the method delivers by its usual setting, not driven into harm."""
        return self.setting in usual_settings(self.dataset)

    @property
    def alone(self) -> Row:
        """As a run sees it, which knows of no other method."""
        return replace(self, signals=replace(self.signals, others=None))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("rows", type=Path)
    arguments.add_argument("--ship", action="store_true")
    chosen = arguments.parse_args()
    rows = [_row(json.loads(line)) for line in chosen.rows.read_text().splitlines()]
    families = sorted({row.family for row in rows})
    fitted = {name: fit([row for row in rows if row.family != name]) for name in families}
    shipped = fit(rows)
    datasets = sorted({row.dataset for row in rows})
    summary = {
        "held_out": {
            name: report([row for row in rows if row.dataset == name], fitted) for name in datasets
        },
        "held_out_by_line": {
            name: by_line([row.alone for row in rows if row.family == name], fitted[name])
            for name in families
        },
        "fitted_on_the_same": {
            name: report(
                [row for row in rows if row.dataset == name], dict.fromkeys(families, shipped)
            )
            for name in datasets
        },
    }
    print(json.dumps(summary, indent=1))
    for name, one in [*fitted.items(), ("shipped", shipped)]:
        heavy = {k: round(w, 2) for k, w in one.weights.items() if w >= 0.005}
        print(f"{name}: bias {one.bias:.2f}, adopt below {one.adopt:.3f}, {heavy}")
    if chosen.ship:
        counts = {f: sum(row.family == f and _open(row) for row in rows) for f in families}
        _write(
            COEFFICIENTS,
            {
                "fitted_by": "Testing/Benchmarks/trust/fit.py",
                "rows": {name: count for name, count in counts.items() if count},
                "coefficients": asdict(shipped),
            },
        )
        _write(RESULTS, summary)
    return 0


def fit(rows: Sequence[Row]) -> Coefficients:
    """Weights of at least 0, by penalised logistic regression."""
    names = list(FEATURES)
    rows = [row for row in rows if _open(row)]
    rows = [*rows, *(row.alone for row in rows)]
    worse = np.array([row.worse for row in rows])
    rows, y, share = [*rows, *rows], np.repeat((1.0, 0.0), len(rows)), _shares(rows, worse)
    x = np.array([[features(row.signals)[name] for name in names] for row in rows], dtype=float)
    measured = np.where(np.isnan(x), 0, share[:, None])
    total = np.maximum(measured.sum(0), 1e-12)
    centres = (measured * np.nan_to_num(x)).sum(0) / total
    scales = np.sqrt((measured * np.nan_to_num(x - centres) ** 2).sum(0) / total)
    scales[scales < 1e-6] = 1.0
    z = np.nan_to_num(np.clip((x - centres) / scales, -CLIP, CLIP))  # 0 adds nothing

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        score = parameters[0] + z @ parameters[1:]
        error = share * (1 / (1 + np.exp(-score)) - y)
        value = share @ (np.logaddexp(0, score) - y * score)
        value += RIDGE * (parameters[1:] ** 2).sum()
        return value, np.array([error.sum(), *(error @ z + 2 * RIDGE * parameters[1:])])

    bounds = [(None, None), *[(0, None)] * len(names)]
    found = minimize(loss, np.zeros(1 + len(names)), jac=True, bounds=bounds, method="L-BFGS-B")

    def named(values: np.ndarray) -> dict[str, float]:
        return {name: round(float(v), 6) for name, v in zip(names, values, strict=True)}

    return Coefficients(
        round(float(found.x[0]), 6), named(found.x[1:]), named(centres), named(scales), ADOPT, KEEP
    )


def _open(row: Row) -> bool:
    """Whether no rule of the judge decides before the probability of harm does."""
    signals = row.signals
    return signals.agreement < 1 and can_adopt(signals) and signals.shrinkage <= VANISHED


def _shares(rows: Sequence[Row], worse: np.ndarray) -> np.ndarray:
    """Weights of all rows as worse ones, then of all as better ones, that sum to 1: those of each
    family alike, and in it those of both sides.
    """
    family = np.array([row.family for row in rows])
    sides = [worse.copy(), 1 - worse]
    for name in np.unique(family):
        for side in sides:
            side[family == name] /= max(side[family == name].sum(), 1e-12)
    shares = np.concatenate(sides)
    return shares / shares.sum()


def report(rows: Sequence[Row], fitted: Mapping[str, Coefficients]) -> dict[str, Any]:
    """What the judge is worth on these results, by the coefficients of each one's family."""
    changed = [row for row in rows if row.signals.agreement < 1]
    usual = [row for row in changed if row.usual]
    return {
        "unchanged": len(rows) - len(changed),
        "run": gate([row.alone for row in changed], fitted),
        "compared": gate(changed, fitted),
        "usual_run": gate([row.alone for row in usual], fitted),
        "dice": _dice([row for row in rows if row.usual], fitted),
    }


def gate(rows: Sequence[Row], fitted: Mapping[str, Coefficients]) -> dict[str, Any]:
    """How well harm is told from help, and what the gate makes of it."""
    verdicts = [judge(row.signals, fitted[row.family]) for row in rows]
    harm = np.array([verdict.harm for verdict in verdicts])
    harmful = np.array([row.harmful for row in rows], dtype=bool)
    helpful = np.array([row.helpful for row in rows], dtype=bool)
    adopted = np.array([verdict.delivered == "result" for verdict in verdicts], dtype=bool)
    decisions = [verdict.decision for verdict in verdicts]
    return {
        "results": len(rows),
        "harmful": int(harmful.sum()),
        "helpful": int(helpful.sum()),
        "auroc_of_harm": _auroc(harm, harmful),
        "decisions": {name: decisions.count(name) for name in ("adopt", "look", "keep")},
        "harmful_among_adopted": _share(harmful[adopted]),
        "harmful_among_delivered": _share(harmful & adopted),
        "harmful_let_through": _share(adopted[harmful]),
        "helpful_rejected": _share(~adopted[helpful]),
    }


def by_line(rows: Sequence[Row], fitted: Coefficients) -> dict[str, dict[str, Any]]:
    """What another line than ADOPT would have made of the results."""
    changed = [row for row in rows if row.signals.agreement < 1]
    told = ("decisions", "harmful_among_adopted", "helpful_rejected")
    found = {}
    for line in LINES:
        moved = replace(fitted, adopt=line, keep=max(KEEP, line))
        values = gate(changed, defaultdict(lambda moved=moved: moved))
        found[str(line)] = {name: values[name] for name in told}
    return found


def _dice(rows: Sequence[Row], fitted: Mapping[str, Coefficients]) -> dict[str, Any]:
    """Mean Dice over the cases: the source's, each method's and what the gate delivers of it, the
    judge's choice among the methods, and the best of all with the source's by the reference.
    """
    cases: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        cases[row.case].append(row)
    chosen, oracle = [], []
    for own in cases.values():
        harms = {row: _harm_if_adopted(row, fitted) for row in own}
        best = min(harms, key=harms.__getitem__)
        chosen.append(best.after if harms[best] < 1 else best.before)
        oracle.append(max(own[0].before, *(row.after for row in own)))
    methods = {}
    for name in sorted({row.method for row in rows}):
        own = [row for row in rows if row.method == name]
        adopted = [_harm_if_adopted(row.alone, fitted) < 1 for row in own]
        gated = [row.after if yes else row.before for row, yes in zip(own, adopted, strict=True)]
        methods[name] = {
            "cases": len(own),
            "source": _mean([row.before for row in own]),
            "result": _mean([row.after for row in own]),
            "gated": _mean(gated),
        }
    return {
        "cases": len(cases),
        "source": _mean([own[0].before for own in cases.values()]),
        "methods": methods,
        "chosen_by_judge": _mean(chosen),
        "oracle": _mean(oracle),
    }


def _harm_if_adopted(row: Row, fitted: Mapping[str, Coefficients]) -> float:
    """The probability of harm of a result that is adopted and not the source's own; else 1."""
    verdict = judge(row.signals, fitted[row.family])
    return verdict.harm if verdict.decision == "adopt" and row.signals.agreement < 1 else 1.0


def _auroc(score: np.ndarray, positive: np.ndarray) -> float | None:
    """The chance that a harmful result scores higher than a harmless one."""
    ranks, count = rankdata(score), int(positive.sum())
    rest = len(score) - count
    if not count or not rest:
        return None
    return round(float((ranks[positive].sum() - count * (count + 1) / 2) / (count * rest)), 4)


def _share(values: np.ndarray) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


def _row(values: dict[str, Any]) -> Row:
    return Row(
        values["dataset"],
        values["case"],
        values["patient"],
        values["method"],
        values["setting"],
        values["dice_source"],
        values["dice_result"],
        Signals(**values["signals"]),
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
