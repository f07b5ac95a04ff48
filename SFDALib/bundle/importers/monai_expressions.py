"""The few expressions of a MONAI configuration that are read, as data.

An expression (``$...``) is parsed, never evaluated by Python: it may join what it names with ``+``,
choose with ``if``/``else``, count with ``len``, and index. It has to name something of the same
file (``@name``), as a constant is better written plainly. Everything else is refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

LONGEST = 400  # letters of an expression
MOST = 4096  # items or letters of a value that was joined
REFERENCE = re.compile(r"@[\w.-]+(?:(?:#|::)[\w.-]+)*")
CONSTANTS = {  # MONAI's names for what a dictionary of data holds
    f"{package}monai.utils.{enum}.{name}": name.lower()
    for package in ("", "$")
    for enum in ("CommonKeys", "enums.CommonKeys")
    for name in ("IMAGE", "LABEL", "PRED")
}
FLOAT = re.compile(r"\$?(?:(?:torch|np|numpy)\.)?(?:float(?:16|32|64)?|half|double|bfloat16)")
NAME = "NAME_"


class Unreadable(ValueError):
    """An expression of another kind."""


def read(text: str, named: Callable[[str], Any]) -> Any:
    """The value of ``$...``.

    Args:
        named: the value of a reference, without its ``@``.

    Raises:
        Unreadable: it is not of the few kinds.
    """
    if text in CONSTANTS:
        return CONSTANTS[text]
    body, values = text[1:].strip(), []

    def place(match: re.Match[str]) -> str:
        values.append(match[0][1:])
        return f"{NAME}{len(values) - 1}"

    body = REFERENCE.sub(place, body)
    if not values or len(text) > LONGEST:
        raise Unreadable(text)
    try:
        tree = ast.parse(body, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(text) from error
    return _value(tree.body, lambda name: named(values[_index(name, len(values))]))


def _index(name: str, count: int) -> int:
    number = name.removeprefix(NAME)
    if number == name or not number.isdecimal() or int(number) >= count:
        raise Unreadable(name)
    return int(number)


def _value(node: ast.expr, named: Callable[[str], Any]) -> Any:
    def value(of: ast.expr) -> Any:
        return _value(of, named)

    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as constant):
            return constant
        case ast.Name(id=name):
            return named(name)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [value(item) for item in items]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(value(operand))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _truth(value(operand))
        case ast.IfExp(test=test, body=then, orelse=otherwise):
            return value(then if _truth(value(test)) else otherwise)
        case ast.Call(func=ast.Name(id="len"), args=[argument], keywords=[]):
            return _length(value(argument))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _sum(value(left), value(right))
        case ast.Subscript(value=of, slice=at):
            return _item(value(of), value(at))
    raise Unreadable(ast.dump(node)[:80])


def _length(found: Any) -> int:
    if not isinstance(found, list | dict | str):
        raise Unreadable(f"{found!r:.40} has no length")
    return len(found)


def _item(found: Any, key: Any) -> Any:
    if isinstance(found, list) and type(key) is int and -len(found) <= key < len(found):
        return found[key]
    if isinstance(found, dict) and isinstance(key, str) and key in found:
        return found[key]
    raise Unreadable(f"{found!r:.40} has no item {key!r:.40}")


def _sum(left: Any, right: Any) -> Any:
    lists = isinstance(left, list) and isinstance(right, list)
    if not lists and not (isinstance(left, str) and isinstance(right, str)):
        return _number(left) + _number(right)
    if len(left) + len(right) > MOST:
        raise Unreadable("too long")
    return left + right


def _number(value: Any) -> Any:
    if type(value) not in (int, float):
        raise Unreadable(f"{value!r:.40} is no number")
    return value


def _truth(value: Any) -> bool:
    if type(value) not in (bool, int):
        raise Unreadable(f"{value!r:.40} is neither true nor false")
    return bool(value)
