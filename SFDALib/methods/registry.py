"""The methods in the order in which they are shown. Standard library alone."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable
from typing import Any

from SFDALib.errors import RequestError
from SFDALib.methods import (
    adaent,
    adami,
    auto,
    bn_statistics,
    cbst,
    dg_tta,
    dpl,
    early_features,
    few_labels,
    heal,
    iapc,
    intent,
    muvi,
    needs,
    none,
    protocontra,
    self_training,
    tent,
    upl,
)
from SFDALib.methods.method import Method

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (
        auto,
        none,
        heal,
        adami,
        adaent,
        early_features,
        bn_statistics,
        tent,
        self_training,
        cbst,
        dpl,
        upl,
        protocontra,
        iapc,
        dg_tta,
        muvi,
        intent,
        few_labels,
    )
}

AUTO = auto.METHOD.name  # what runs where no method is named
REFERENCE = none.METHOD.name  # what the other methods are compared with: the source model as it is


def find(name: str) -> Method:
    """The method of that name.

    Raises:
        RequestError: there is none.
    """
    if name not in METHODS:
        raise RequestError(
            f'method: found "{name[:60]}", expected one of {", ".join(METHODS)}; SFDALib methods'
            " describes them"
        )
    return METHODS[name]


def lacking(holds: Collection[str]) -> dict[str, str | None]:
    """For every method why a bundle that holds these cannot serve it; None if it can.

    Args:
        holds: ``Description.holds`` of the bundle.
    """
    return {method.name: method.lacks(holds) for method in METHODS.values()}


def comparable(names: Iterable[str]) -> list[str]:
    """Those of the methods that can be compared: not the automatic choice among them."""
    return [name for name in names if not find(name).chooses]


def candidates(holds: Collection[str]) -> list[Method]:
    """The methods that the automatic choice tries on a bundle, in order.

    Those of ``auto.order`` first, then the rest as in ``METHODS``; without those that learn from
    labels.

    Args:
        holds: ``Description.holds`` of the bundle.
    """
    reasons = lacking({*holds} - {needs.LABELS})
    ordered = dict.fromkeys([*auto.order(holds), *METHODS])
    served = [name for name in ordered if name != REFERENCE and reasons[name] is None]
    return [METHODS[name] for name in comparable(served)]


def entry(method: Method) -> Any:
    """The class or function that ``method.entry`` names."""
    module, name = method.entry.split(":")
    return getattr(importlib.import_module(module), name)
