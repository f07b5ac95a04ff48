"""The methods with their options that the judge is measured on, of each data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

DELIVERED = "delivered"


@dataclass(frozen=True)
class Setting:
    """A method with options.

    Args:
        all_epochs: the state after each epoch is judged, not only the delivered and the last.
        each: adapted to every case by itself; else once to all of them.
        every: of the cases, every how many-th is taken.
    """

    method: str
    options: dict[str, Any]
    all_epochs: bool = False
    each: bool = False
    every: int = 1

    @property
    def tag(self) -> str:
        options = ",".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in self.options.items()
        )
        return f"{self.method} {options}{' each' if self.each else ''}".strip()


def _with(method: str, rate: float, epochs: int, **more: Any) -> Setting:
    return Setting(method, {"learning_rate": rate, "epochs": epochs, **more})


UNSETTLED = {"settle_bn": False, "bn": "eval"}
# Rates of the papers' order where that moves anything in so few steps.
USUAL = (
    Setting("bn-statistics", {}),
    _with("tent", 1e-3, 2),
    _with("adami", 1e-4, 2),
    _with("early-features", 1e-3, 2),
    _with("adaent", 1e-4, 2),
    _with("self-training", 1e-3, 1, rounds=2, batch=8),
    _with("dpl", 1e-4, 2),
    _with("iapc", 1e-3, 2),
    _with("dg-tta", 1e-4, 2),
    _with("protocontra", 1e-4, 2),
    _with("cbst", 1e-3, 1, rounds=2, batch=8),
    _with("upl", 1e-4, 2),
)
# Up to ten thousand times the papers' rates, so that there is harm to detect.
HARMFUL = tuple(
    replace(setting, all_epochs=True)
    for setting in (
        _with("adami", 1e-3, 2, **UNSETTLED),
        _with("early-features", 1e-2, 2, **UNSETTLED),
        _with("adaent", 1e-3, 2),
    )
)
HEAL = Setting("heal", {"steps": 10, "samples": 3}, each=True, every=2)
BRAIN = tuple(replace(setting, each=True) for setting in USUAL)
# The later data sets: one volume at a time, with values that presets.py found of use.
LATER = tuple(
    replace(setting, each=True)
    for setting in (
        Setting("bn-statistics", {}),
        _with("tent", 1e-3, 2),
        _with("adami", 3e-4, 6),
        _with("early-features", 1e-3, 2),
        _with("self-training", 1e-3, 1, rounds=2, batch=8),
        _with("iapc", 1e-3, 5),
        _with("protocontra", 1e-4, 2),
        _with("upl", 1e-4, 2),
        _with("muvi", 1e-2, 1),
        replace(_with("dpl", 1e-4, 2, dropout_passes=4), every=2),
        replace(_with("dg-tta", 1e-4, 2, ensemble=1, patches=4), every=2),
    )
)
LATER_HARMFUL = tuple(replace(setting, each=True) for setting in HARMFUL)
SETTINGS = {
    "brain": (*BRAIN, replace(_with("adami", 1e-4, 1), each=True), HEAL),
    "brain-t1w": BRAIN,
    "cardiac": (*USUAL, *HARMFUL),
    "cardiac-cine": USUAL,
    "cvc-to-kvasir": (*USUAL, *HARMFUL),
    "kvasir-to-cvc": (*USUAL, *HARMFUL),
    **{
        name: (*LATER, *LATER_HARMFUL)
        for name in (
            "cardiac-instance",
            "nuclei",
            "nuclei-contrast",
            *(
                f"hippocampus{norm}-{kind}"
                for norm in ("", "-batch")
                for kind in ("inverted", "folded", "degraded", "t1w")
            ),
        )
    },
}


def usual_settings(name: str) -> set[str]:
    """How a data set's lines are marked that hold what a method delivers by its usual setting."""
    return {f"{setting.tag} @{DELIVERED}" for setting in SETTINGS[name] if not setting.all_epochs}
