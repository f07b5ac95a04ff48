"""What a segment is, in codes of SNOMED CT, as 3D Slicer and its DICOM SEG exporter need it.

A segment's terminology is a line of text, Slicer's "serialized terminology entry": seven parts
between ``~``, of which all but the names of the two lists are a code between ``^`` (scheme, value,
meaning)::

    list ~ category ~ type ~ type modifier ~ list ~ region ~ region modifier

The exporter demands category and type. A bundle may state the line for each label; for the others
it is found here by the label's name in ``terminology.json``, which holds common organs, tissues and
lesions. A name that is not certain becomes "Tissue", which is never wrong.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("terminology.json")
TYPES = "Segmentation category and type - DICOM master list"  # as Slicer names its lists
REGIONS = "Anatomic codes - DICOM master list"
STRUCTURE = (
    "123037004"  # category of what has a place of its own, and so may be the region of others
)
LIMITS = (16, 16, 64)  # characters that DICOM has for scheme, value and meaning (SH, SH, LO)
LEFT, RIGHT = {"left", "l", "lt"}, {"right", "r", "rt"}
FILLERS = {"of", "the"}


class Code(NamedTuple):
    """A coded word: scheme ("SCT" for SNOMED CT), value, meaning in English."""

    scheme: str
    value: str
    meaning: str


SIDES = {"left": Code("SCT", "7771000", "Left"), "right": Code("SCT", "24028007", "Right")}


@dataclass(frozen=True)
class Type:
    """A kind of segment.

    Args:
        category, code: what the exporter demands.
        sides: whether there is a left and a right one.
        site: whether it may lie in any structure, as a tumour does; that is then its region.
    """

    category: Code
    code: Code
    sides: bool = False
    site: bool = False


TISSUE = Type(Code("SCT", "85756007", "Tissue"), Code("SCT", "85756007", "Tissue"))


def of_name(name: str) -> str:
    """The terminology of a label of that name; "Tissue" where the name says nothing certain.

    Case, plurals, word order and the usual separators do not matter. "left" and "right", also "l",
    "lt", "r" and "rt" as first or last word, become the modifier of what has two sides. A name of a
    lesion or of vessels together with a structure's has that structure as its region. "kidney
    outside tumor", as importers name what is left of a region, is the kidney.
    """
    words = _words(name)
    found = _structure(words) or _at_a_site(words)
    if not found and "outside" in words:
        whole = _find(words[: words.index("outside")])
        found = _entry(*whole) if whole and whole[0].category.value == STRUCTURE else None
    return found or _entry(TISSUE)


def fault(entry: str) -> str | None:
    """What the exporter expects of a terminology and this one lacks; None if nothing."""
    parts = entry.split("~")
    if len(parts) != 7 or not entry.isascii() or any(sign in entry for sign in "|\\"):
        # "|" parts a segment's tags in Slicer, and DICOM's text without a character set is ASCII
        return r'seven parts between "~", of ASCII letters without "|" and "\"'
    for index in (1, 2, 3, 5, 6):
        code = parts[index].split("^")
        demanded = index in (1, 2)
        if len(code) != 3 or not (all(code) or not (demanded or any(code))):
            return "a category and a type, each code as scheme^value^meaning"
        if any(len(text) > limit for text, limit in zip(code, LIMITS, strict=True)):
            return f"at most {LIMITS[1]} characters in a code's value, {LIMITS[2]} in its meaning"
    return None


def in_words(entry: str) -> str:
    """The meanings of a terminology's codes: "Neoplasm in Kidney, Left"."""
    _, _, type_, side, _, region, region_side = (part.split("^")[-1] for part in entry.split("~"))
    found = type_ + (f", {side}" if side else "")
    return found + (f" in {region}" if region else "") + (f", {region_side}" if region_side else "")


def _entry(
    type_: Type, side: str | None = None, region: tuple[Type, str | None] | None = None
) -> str:
    """Slicer's line; ``side`` is the type's, ``region`` a structure with its own."""
    where, where_side = region or (None, None)
    parts = (
        *(TYPES, type_.category, type_.code, SIDES.get(side or "")),
        *(REGIONS, where and where.code, SIDES.get(where_side or "")),
    )
    return "~".join(
        part if isinstance(part, str) else "^".join(part or ("", "", "")) for part in parts
    )


def _structure(words: Sequence[str]) -> str | None:
    """The line for words that are all of a type's name, but for its side."""
    found = _find(words)
    return found and _entry(*found)


def _at_a_site(words: Sequence[str]) -> str | None:
    """The line for words of which some name a lesion and all others the structure it lies in."""
    for lesion, others in _splits(words):
        kind = _table().get(_key(lesion))
        site = _find(others)
        if kind and kind.site and site and site[0].category.value == STRUCTURE:
            return _entry(kind, region=site)
    return None


def _splits(words: Sequence[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Every parting of a few words into two groups."""
    if len(words) > 8:  # the number of partings doubles with each
        return
    for chosen in itertools.product((True, False), repeat=len(words)):
        first = [word for word, yes in zip(words, chosen, strict=True) if yes]
        second = [word for word, yes in zip(words, chosen, strict=True) if not yes]
        if first and second:
            yield first, second


def _find(words: Sequence[str]) -> tuple[Type, str | None] | None:
    """The type that these words name, and its side ("left ventricle" is a name of its own)."""
    found = _named(words)
    if found:
        return found, None
    sides = [(index, _side(words, index)) for index in range(len(words))]
    stated = [(index, side) for index, side in sides if side]
    if len(stated) != 1:
        return None
    index, side = stated[0]
    found = _named([*words[:index], *words[index + 1 :]])
    return (found, side) if found and found.sides else None


def _side(words: Sequence[str], index: int) -> str | None:
    word, at_an_end = words[index], index in (0, len(words) - 1)
    for side, forms in (("left", LEFT), ("right", RIGHT)):
        if word == side or (at_an_end and word in forms):
            return side
    return None


def _named(words: Sequence[str]) -> Type | None:
    """The type of which these words, in any order, or written as one, are a name."""
    table = _table()
    return table.get(_key(words)) or table.get("".join(words))


def _words(name: str) -> list[str]:
    """A name's words, in lower case and the singular; what else it holds stays and so fits no name.

    A comma before a side is none of that: "Kidney, left".
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    parted = re.sub(r",\s*(?=(left|right|l|r)$)", " ", parted.strip().casefold())
    return [_singular(word) for word in re.split(r"[\s_.-]+", parted) if word not in ("", *FILLERS)]


def _singular(word: str) -> str:
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("ae", "a")):
        if len(word) > 4 and word.endswith(ending):
            return word.removesuffix(ending) + instead
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is", "as")):
        return word[:-1]
    return word


def _key(words: Sequence[str]) -> str:
    return " ".join(sorted(words))


@functools.cache
def _table() -> dict[str, Type]:
    """Every name, its words in order of the alphabet and written as one, with what it means."""
    content = json.loads(TABLE.read_text(encoding="utf-8"))
    table: dict[str, Type] = {}
    for group in content["categories"]:
        category = Code(content["scheme"], group["code"], group["meaning"])
        for row in group["types"]:
            code = Code(content["scheme"], row["code"], row["meaning"])
            kind = Type(category, code, row.get("sides", False), row.get("site", False))
            for name in (row["meaning"], *row.get("names", ())):
                words = _words(name)
                for key in {_key(words), "".join(words)}:
                    if table.setdefault(key, kind) != kind:
                        raise ValueError(f"{TABLE.name}: {name!r} has two meanings")
    return table
