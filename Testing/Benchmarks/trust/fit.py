"""Fit the judge, and say what it is worth on data that it was not fitted on.

    python Testing/Benchmarks/trust/fit.py ROWS.jsonl [--ship]

ROWS is what measure.py wrote. Every family of data sets (polyps, heart, brain) is judged by
coefficients and bounds that were fitted on the other families alone; ``--ship`` also writes those
fitted on all of them into the package, with the held-out figures beside them in results.json.
In the weights' fit each family counts the same, whatever its number of cases.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata

from SFDALib.trust.judge import COEFFICIENTS, FEATURES, Coefficients, can_adopt, features, judge
from SFDALib.trust.signals import Signals

RESULTS = Path(__file__).with_name("results.json")
FAMILIES = {"kvasir-to-cvc": "polyp", "cvc-to-kvasir": "polyp"}
MARGIN = 0.02  # of Dice: more is harm, or help
ALLOWED = 0.02  # share of the adopted results that may harm, in the fit; elsewhere it is more
KEEP = 0.5  # from this probability of harm on the source's is kept without a second thought
RIDGE = 0.02  # penalty of a squared weight, per unit of mean log loss


@dataclass(frozen=True)
class Row:
    """One result: its place, its Dice, its signals."""

    dataset: str
    case: str
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


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("rows", type=Path)
    arguments.add_argument("--ship", action="store_true")
    chosen = arguments.parse_args()
    every = [_row(json.loads(line)) for line in chosen.rows.read_text().splitlines()]
    rows = [row for row in every if row.signals.agreement < 1]  # else there is nothing to judge
    families = sorted({row.family for row in rows})
    judged: list[tuple[Row, Coefficients]] = []
    for family in families:
        fitted = fit([row for row in rows if row.family != family])
        judged += [(row, fitted) for row in rows if row.family == family]
    shipped = fit(rows)
    held_out = {
        name: evaluate([pair for pair in judged if pair[0].dataset == name])
        for name in sorted({row.dataset for row in rows})
    }
    held_out["all"] = evaluate(judged)
    own = evaluate([(row, shipped) for row in rows])
    unchanged = len(every) - len(rows)
    print(f"{unchanged} of {len(every)} results are the source's own and are left out")
    for name, values in [*held_out.items(), ("all, fitted on the same", own)]:
        print(name, json.dumps(values, indent=1))
    print("weights", json.dumps({k: round(v, 3) for k, v in shipped.weights.items()}))
    print("bias", shipped.bias, "adopt", shipped.adopt)
    if chosen.ship:
        _write(
            COEFFICIENTS,
            {
                "fitted_by": "Testing/Benchmarks/trust/fit.py",
                "rows": {f: sum(row.family == f for row in rows) for f in families},
                "coefficients": asdict(shipped),
            },
        )
        summary = {"unchanged": unchanged, "held_out": held_out, "fitted_on_the_same": own}
        _write(RESULTS, summary)
    return 0


def fit(rows: Sequence[Row]) -> Coefficients:
    """Weights of at least 0 by penalised logistic regression, then the bound of adoption."""
    names = list(FEATURES)
    x = np.array([[features(row.signals)[name] for name in names] for row in rows], dtype=float)
    y = np.array([row.harmful for row in rows], dtype=float)
    share = _shares(rows)
    measured = np.where(np.isnan(x), 0, share[:, None])
    centres = (measured * np.nan_to_num(x)).sum(0) / np.maximum(measured.sum(0), 1e-12)
    x = np.where(np.isnan(x), centres, x)  # which adds nothing to the score
    scales = np.sqrt(share @ (x - centres) ** 2)
    scales[scales < 1e-6] = 1.0
    z = (x - centres) / scales

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        score = parameters[0] + z @ parameters[1:]
        error = share * (1 / (1 + np.exp(-score)) - y)
        value = share @ (np.logaddexp(0, score) - y * score)
        value += RIDGE * (parameters[1:] ** 2).sum()
        return value, np.array([error.sum(), *(error @ z + 2 * RIDGE * parameters[1:])])

    bounds = [(None, None), *[(0, None)] * len(names)]
    found = minimize(loss, np.zeros(1 + len(names)), jac=True, bounds=bounds, method="L-BFGS-B")
    harm = 1 / (1 + np.exp(-(found.x[0] + z @ found.x[1:])))
    open_to = np.array([can_adopt(row.signals) for row in rows])
    adopt = _bound(harm[open_to], y[open_to])

    def named(values: np.ndarray) -> dict[str, float]:
        return {name: round(float(v), 6) for name, v in zip(names, values, strict=True)}

    return Coefficients(
        bias=round(float(found.x[0]), 6),
        weights=named(found.x[1:]),
        centres=named(centres),
        scales=named(scales),
        adopt=round(adopt, 4),
        keep=max(KEEP, round(adopt, 4)),
    )


def _bound(harm: np.ndarray, y: np.ndarray) -> float:
    """The largest bound under which at most ALLOWED of the adopted harm."""
    order = np.argsort(harm)
    harmful = np.cumsum(y[order]) / np.arange(1, len(y) + 1)
    good = np.flatnonzero(harmful <= ALLOWED)
    return float(harm[order][good[-1]]) if len(good) else 0.0


def _shares(rows: Sequence[Row]) -> np.ndarray:
    """Weights that sum to 1, those of each family alike."""
    counts = defaultdict(int)
    for row in rows:
        counts[row.family] += 1
    return np.array([1 / counts[row.family] / len(counts) for row in rows])


def evaluate(judged: Sequence[tuple[Row, Coefficients]]) -> dict[str, Any]:
    """What the judge is worth on these results."""
    rows = [row for row, _ in judged]
    verdicts = [judge(row.signals, fitted) for row, fitted in judged]
    harm = np.array([verdict.harm for verdict in verdicts])
    harmful = np.array([row.harmful for row in rows])
    helpful = np.array([row.helpful for row in rows])
    adopted = np.array([verdict.delivered == "result" for verdict in verdicts])
    before = np.array([row.before for row in rows])
    after = np.array([row.after for row in rows])
    cases: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        cases[row.dataset, row.case].append(index)
    by_judge, oracle, source = [], [], []
    for indices in cases.values():
        best = min(indices, key=lambda index: harm[index])
        by_judge.append(after[best] if adopted[best] else before[best])
        oracle.append(max(after[indices].max(), before[indices[0]]))
        source.append(before[indices[0]])
    methods = sorted({row.method for row in rows})
    decisions = [verdict.decision for verdict in verdicts]
    return {
        "results": len(rows),
        "cases": len(cases),
        "harmful": int(harmful.sum()),
        "helpful": int(helpful.sum()),
        "auroc_of_harm": _auroc(harm, harmful),
        "decisions": {name: decisions.count(name) for name in ("adopt", "look", "keep")},
        "harmful_among_adopted": _share(harmful[adopted]),
        "harmful_let_through": _share(adopted[harmful]),
        "helpful_rejected": _share(~adopted[helpful]),
        "dice": {
            "source": _mean(before),
            **{name: _mean(after[[row.method == name for row in rows]]) for name in methods},
            "ungated": _mean(after),
            "gated": _mean(np.where(adopted, after, before)),
            "better_of_the_two": _mean(np.maximum(after, before)),
        },
        "dice_by_case": {
            "source": _mean(source),
            "chosen_by_judge": _mean(by_judge),
            "oracle": _mean(oracle),
        },
    }


def _auroc(score: np.ndarray, positive: np.ndarray) -> float | None:
    """The chance that a harmful result scores higher than a harmless one."""
    ranks, count = rankdata(score), int(positive.sum())
    rest = len(score) - count
    if not count or not rest:
        return None
    return round(float((ranks[positive].sum() - count * (count + 1) / 2) / (count * rest)), 4)


def _share(values: np.ndarray) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return round(float(np.mean(values)), 4)


def _row(values: dict[str, Any]) -> Row:
    return Row(
        values["dataset"],
        values["case"],
        values["method"],
        values["setting"],
        values["dice_source"],
        values["dice_result"],
        Signals(**values["signals"]),
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
