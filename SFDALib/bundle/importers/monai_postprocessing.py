"""The postprocessing of a MONAI bundle: what makes labels of the network's outputs.

Every transform of the prediction is honoured, known to change nothing that is delivered, or refused
by name.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from SFDALib.bundle.importers.monai_configuration import (
    INSTRUCTIONS,
    Configuration,
    of_key,
    transform_name,
)
from SFDALib.bundle.importers.monai_expressions import FLOAT
from SFDALib.errors import RequestError
from SFDALib.volume.cleaning import CLEANINGS, Cleaning, check_cleaning

POSTPROCESSING = (
    *("postprocessing", "post_transforms", "validate#postprocessing", "train#postprocessing"),
)
NO_EFFECT = (  # on which voxel has which label
    *("SaveImaged", "ToTensord", "ToDeviced", "ToNumpyd", "Identityd", "DeleteItemsd"),
    *("SelectItemsd", "FromMetaTensord", "ToMetaTensord", "DataStatsd"),
)
EVEN = 0.5
# What is left of one-hot masks without their first channel, the background
FOREGROUND = re.compile(r"\$\s*lambda (\w+)\s*:\s*\1\[1:(?:,\s*\.\.\.)?\]\s*")


@dataclass(frozen=True)
class Outputs:
    """What the postprocessing makes of the network's outputs.

    Args:
        regions: whether each output is a region of its own, by its sigmoid, and they may overlap.
        threshold: least probability of a region or label; None for MONAI's usual.
        cleaning: of the labels.
        order: of the regions' channels as they are painted, the outermost first; None where the
            bundle does not say.
        maps: what is interpolated on the way back to the image.
    """

    regions: bool
    threshold: float | None = None
    cleaning: tuple[Cleaning, ...] = ()
    order: tuple[int, ...] | None = None
    maps: str = "probabilities"


def outputs(config: Configuration, channels: int) -> Outputs:
    """Read the postprocessing.

    Args:
        channels: of the network's output.

    Raises:
        RequestError: a transform, or a setting of one, that decides the labels and has no
            counterpart; it is named.
    """
    listed = config.transforms(POSTPROCESSING, "the postprocessing")
    if listed is None:
        raise RequestError(
            f"{config.where}: found no Activationsd or AsDiscreted in the postprocessing, expected"
            " it to say whether the outputs are a softmax or sigmoids; add it"
        )
    return _Postprocessing(config, listed, channels).read()


class _Postprocessing:
    """State: the activation (None, "softmax", "sigmoid"), what is discrete by now (None, "labels",
    "masks", "painted"), and where the prediction is ("model" or "input" grid).
    """

    def __init__(self, config: Configuration, listed: list[dict[str, Any]], channels: int) -> None:
        self._config, self._channels = config, channels
        self._listed = [one for one in listed if not config.is_disabled(one)]
        self._activation: str | None = None
        self._discrete: str | None = None
        self._argmax = False
        self._threshold: float | None = None
        self._cleaning: list[Cleaning] = []
        self._order: tuple[int, ...] | None = None
        self._on = "model"
        self._inverted_logits = False

    def read(self) -> Outputs:
        for transform in self._listed:
            self._take(transform, self._key())
        if self._activation is None and self._discrete is None:
            raise RequestError(
                f"{self._config.where}: found no Activationsd or AsDiscreted of the prediction in"
                " the postprocessing, expected it to say whether the outputs are a softmax or"
                " sigmoids; add it"
            )
        if self._channels == 1 and (self._argmax or self._activation == "softmax"):
            self._refuse(
                "Activationsd" if self._activation == "softmax" else "AsDiscreted",
                "a softmax or argmax of the network's one output is the same everywhere",
            )
        regions = not self._argmax and self._activation == "sigmoid" and self._channels > 1
        threshold = None if self._threshold == EVEN else self._threshold
        if not regions and self._channels > 2 and self._threshold is not None and not self._argmax:
            threshold = self._threshold
            if threshold <= EVEN:
                self._refuse("AsDiscreted", "labels of a softmax above so low a threshold overlap")
        maps = "logits" if self._inverted_logits else "probabilities"
        return Outputs(regions, threshold, tuple(self._cleaning), self._order, maps)

    def _key(self) -> str:
        """The key of the prediction: "pred" for MONAI's evaluators."""
        used = [key for one in self._listed for key in self._config.keys(one) or ()]
        return "pred" if "pred" in used or not used else used[0]

    def _take(self, transform: dict[str, Any], key: str) -> None:
        name, config = transform_name(transform), self._config
        if name is None:
            self._refuse(str(transform["_target_"])[:80], "it is no class of MONAI's own")
        keys = config.keys(transform)
        if name in NO_EFFECT or (keys is not None and key not in keys):
            return
        read = getattr(self, f"_read_{name}", None)
        given = {
            argument: value
            for argument, value in transform.items()
            if argument not in ("_target_", "keys", "allow_missing_keys", *INSTRUCTIONS)
        }
        if name == "Lambdad":
            self._read_lambda(given)
        elif name == "Invertd":
            self._read_invert(given)
        elif name.removesuffix("d") in CLEANINGS:
            given = {a: config.plain(v, f"postprocessing {name}") for a, v in given.items()}
            self._clean(name, given)
        elif read is not None:
            given = {
                argument: of_key(config.plain(value, f"postprocessing {name}"), keys, key)
                for argument, value in given.items()
            }
            read(name, given)
        else:
            self._refuse(name, "no such transform is known")

    def _refuse(self, name: str, why: str) -> NoReturn:
        raise RequestError(
            f"{self._config.where}: found the transform {name} in the postprocessing, but {why};"
            f" expected activation, argmax or threshold, inversion, {', '.join(CLEANINGS)} and"
            " saving; this bundle cannot be imported as it is"
        )

    def _read_invert(self, given: dict[str, Any]) -> None:
        if given.get("post_func") is not None:
            self._refuse("Invertd", "its post_func has no counterpart")
        self._on = "input"
        self._inverted_logits = self._activation is None and self._discrete is None

    def _read_Activationsd(self, name: str, given: dict[str, Any]) -> None:
        sigmoid, softmax = given.pop("sigmoid", False), given.pop("softmax", False)
        if given.pop("other", None) is not None or given.pop("dim", 0) not in (0, None):
            self._refuse(name, "another function or axis has no counterpart")
        if sigmoid is not True and softmax is not True:
            return
        if self._discrete is not None or self._activation is not None:
            self._refuse(name, "it comes after the activation or the labels")
        self._activation = "sigmoid" if sigmoid is True else "softmax"

    def _read_AsDiscreted(self, name: str, given: dict[str, Any]) -> None:
        argmax, threshold = given.pop("argmax", False), given.pop("threshold", None)
        one_hot, rounding = given.pop("to_onehot", None), given.pop("rounding", None)
        if given.pop("dim", 0) not in (0, None):
            self._refuse(name, "another axis has no counterpart")
        if threshold is None and rounding is not None:
            threshold = EVEN
        if argmax is True:
            if self._discrete is not None:
                self._refuse(name, "it comes after the labels")
            self._discrete, self._argmax = "labels", True
        if one_hot is not None:
            if self._discrete != "labels" or one_hot != self._channels:
                self._refuse(name, f"its to_onehot is not of the network's {self._channels} labels")
            self._discrete = "masks"
        if threshold is not None:
            self._above(name, float(threshold))

    def _read_CastToTyped(self, name: str, given: dict[str, Any]) -> None:
        if self._discrete is None and not FLOAT.fullmatch(str(given.get("dtype") or "float32")):
            self._refuse(name, "its dtype rounds probabilities")

    _read_EnsureTyped = _read_CastToTyped

    def _above(self, name: str, threshold: float) -> None:
        if self._discrete == "masks" or (self._discrete == "labels" and self._channels == 2):
            if not 0 < threshold <= 1:
                self._refuse(name, "its threshold is not between 0 and 1")
        elif self._discrete == "labels":
            self._refuse(name, "its threshold makes one of several labels")
        elif self._activation is None or not 0 < threshold < 1:
            self._refuse(name, "a threshold of what is no probability has no counterpart")
        else:
            self._discrete, self._threshold = "masks", threshold

    def _clean(self, name: str, given: dict[str, Any]) -> None:
        if self._discrete not in ("labels", "masks"):
            self._refuse(name, "it comes before the labels, or after they are painted")
        of_regions = self._activation == "sigmoid" and not self._argmax and self._channels > 1
        masks = self._discrete == "masks" and self._channels > 1
        transform = name.removesuffix("d")
        given.pop("pixdim", None)  # the image's own is taken
        given = {argument: value for argument, value in given.items() if value is not None}
        if transform == "LabelFilter" and masks:
            self._refuse(name, "it comes after to_onehot or threshold")
        if transform == "FillHoles" and masks and not of_regions and self._channels > 2:
            self._refuse(name, "of masks it fills holes that are other labels")
        if given.get("is_onehot", masks) is not masks:
            self._refuse(name, f"its is_onehot is not {str(masks).lower()}, as the labels are")
        chosen = given.get("applied_labels", [])
        if masks and any(n not in range(self._channels) for n in _listed(chosen)):
            self._refuse(name, f"its applied_labels are not of {self._channels} outputs")
        step = Cleaning(transform, given, self._on, masks)
        self._cleaning.append(check_cleaning(step, f"{self._config.where}, {name}"))

    def _read_lambda(self, given: dict[str, Any]) -> None:
        function = given.get("func")
        text = function if isinstance(function, str) else ""
        if self._discrete == "masks" and self._argmax and FOREGROUND.fullmatch(text):
            self._discrete = "painted"
            return
        painted = painting_order(text)
        if self._discrete != "masks" or self._argmax or painted is None:
            self._refuse("Lambdad", "it is a function, and nothing in a model is ever executed")
        self._discrete, self._order = "painted", painted


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def painting_order(text: str) -> tuple[int, ...] | None:
    """The channels of regions, the outermost first, that a function such as ``lambda x:
    torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, 0))`` paints, here (0, 2): it is parsed,
    not executed. None for any other function.
    """
    try:
        tree = ast.parse(text.removeprefix("$").strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(tree, ast.Lambda) or len(tree.args.args) != 1:
        return None
    name, node = tree.args.args[0].arg, tree.body
    order: list[int] = []
    while isinstance(node, ast.Call) and len(node.args) == 3 and not node.keywords:
        test, label, otherwise = node.args
        match = re.fullmatch(rf"{name}\[\[?(\d+)\]?\] > 0", ast.unparse(test))
        value = label.value if isinstance(label, ast.Constant) else 0
        if ast.unparse(node.func) != "torch.where" or match is None or not value:
            return None
        order.insert(0, int(match[1]))
        node = otherwise
    ends = isinstance(node, ast.Constant) and node.value == 0
    return tuple(order) if ends and order and len(order) == len(set(order)) else None
