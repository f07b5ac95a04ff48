"""The configuration of a MONAI bundle as data: what its names and transforms stand for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from SFDALib.bundle.importers import monai_expressions
from SFDALib.errors import RequestError

DEPTH = 16  # of references to references
VALUES_LIMIT = 200_000  # looked up in one configuration
INSTRUCTIONS = ("_desc_", "_requires_", "_disabled_", "_mode_")  # of MONAI's ConfigParser
PACKAGE = re.compile(r"(monai\.transforms\.([a-z_]+\.)*)?([A-Za-z0-9]+)")


@dataclass(frozen=True)
class Configuration:
    """A bundle's JSON or YAML, with references to plain data in it looked up."""

    values: Mapping[str, Any]
    where: str
    _looked_up: Counter[str] = field(default_factory=Counter)

    def get(self, key: str) -> Any:
        """The value of a key without references; None where there is no such key."""
        return self.plain(self.values.get(key), key)

    def plain(self, value: Any, name: str, depth: int = 0) -> Any:
        """The value with every reference in it replaced by what it names.

        Raises:
            RequestError: an expression that is more than names put together, or a reference to
                nothing.
        """
        self._looked_up["values"] += 1
        if depth > DEPTH or self._looked_up["values"] > VALUES_LIMIT:
            raise RequestError(f"{self.where}: found references in a circle in {name}; correct it")
        if isinstance(value, str) and value.startswith("@"):
            return self.plain(self._named(value[1:], name), name, depth + 1)
        if isinstance(value, str) and value[:1] in ("$", "%"):
            return self._expression(value, name, depth)
        if isinstance(value, list):
            return [self.plain(item, name, depth + 1) for item in value]
        if isinstance(value, dict):
            return {
                key: self.plain(item, f"{name}, {key}", depth + 1) for key, item in value.items()
            }
        return value

    def transforms(self, names: Sequence[str], what: str) -> list[dict[str, Any]] | None:
        """The transforms of the first Compose that is there, as they stand, in order.

        Args:
            names: of keys; "a#b" is b inside a.
            what: for errors.

        Returns:
            None where there is none.
        """
        value = next((found for name in names if (found := self._inside(name)) is not None), None)
        if value is None:
            return None
        if isinstance(value, str):
            value = self._one_level(value, what)
        listed = value.get("transforms") if isinstance(value, dict) else value
        if isinstance(listed, str):
            listed = self._one_level(listed, what)
        if not isinstance(listed, list):
            raise RequestError(
                f"{self.where}: found {what} without a list of transforms, expected a Compose of"
                " them; correct it"
            )
        found = []
        for one in listed:
            one = self._one_level(one, what) if isinstance(one, str) else one
            if not isinstance(one, dict) or not isinstance(one.get("_target_"), str):
                raise RequestError(
                    f"{self.where}: found {one!r:.80} in {what}, expected a transform with its"
                    " _target_; correct it"
                )
            found.append(one)
        return found

    def is_disabled(self, transform: Mapping[str, Any]) -> bool:
        """Whether MONAI leaves it out: ``_disabled_`` is true, or the word for it."""
        value = transform.get("_disabled_", False)
        if isinstance(value, str) and value[:1] in "@$%":
            value = self.plain(value, f"_disabled_ of {transform['_target_'][:60]}")
        return value.lower().strip() == "true" if isinstance(value, str) else bool(value)

    def keys(self, transform: Mapping[str, Any]) -> list[str] | None:
        """The keys of the data that it changes; None where it names none."""
        if "keys" not in transform:
            return None
        value = self.plain(transform["keys"], f"keys of {transform['_target_'][:60]}")
        found = value if isinstance(value, list) else [value]
        if not all(isinstance(key, str) for key in found):
            raise RequestError(
                f"{self.where}: found the keys {value!r:.80}, expected names; correct it"
            )
        return found

    def _inside(self, name: str) -> Any:
        value: Any = self.values
        for part in name.split("#"):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def _one_level(self, value: str, name: str) -> Any:
        """What a reference, or lists joined, name: with the references inside left as they are."""
        for _ in range(DEPTH):
            if not isinstance(value, str):
                return value
            if value.startswith("@"):
                value = self._named(value[1:], name)
            elif value.startswith("$"):
                value = self._read(value, name, lambda path: self._one_level(f"@{path}", name))
            else:
                return value
        raise RequestError(f"{self.where}: found references in a circle in {name}; correct it")

    def _expression(self, value: str, name: str, depth: int) -> Any:
        if monai_expressions.FLOAT.fullmatch(value):
            return value  # a type of numbers, for whom it concerns
        return self._read(
            value, name, lambda path: self.plain(self._named(path, name), name, depth + 1)
        )

    def _read(self, value: str, name: str, named: Any) -> Any:
        try:
            return monai_expressions.read(value, named)
        except monai_expressions.Unreadable as error:
            raise RequestError(
                f'{self.where}: found the expression "{value[:80]}" in {name}, expected plain'
                " values, as nothing in a model is ever executed; replace it by its value"
            ) from error

    def _named(self, path: str, name: str) -> Any:
        value: Any = self.values
        for key in path.replace("::", "#").split("#"):
            if isinstance(value, list) and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            elif isinstance(value, dict) and key in value:
                value = value[key]
            else:
                raise RequestError(
                    f'{self.where}: found "@{path[:80]}" in {name}, expected the name of something'
                    " in the same file; correct it"
                )
        return value


def transform_name(transform: Mapping[str, Any]) -> str | None:
    """The class of one of MONAI's transforms under its usual spelling, such as Orientationd for
    monai.transforms.OrientationDict; None for a class of another package.
    """
    match = PACKAGE.fullmatch(transform["_target_"])
    if match is None:
        return None
    name = match[3]
    for ending in ("Dict", "D"):
        if name.endswith(ending) and len(name) > len(ending):
            return f"{name.removesuffix(ending)}d"
    return name


def of_key(value: Any, keys: Sequence[str] | None, key: str) -> Any:
    """An argument that may have one value for all keys or, in a list, one for each."""
    if isinstance(value, list):
        index = keys.index(key) if keys and key in keys and len(keys) == len(value) else 0
        return value[index] if value else None
    return value
