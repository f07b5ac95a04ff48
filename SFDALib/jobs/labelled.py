"""The files of images with segmentations, from which the method ``few-labels`` learns.

Standard library alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from SFDALib.errors import RequestError, check_name
from SFDALib.jobs.fields import Keywords, Kind
from SFDALib.methods import needs, registry
from SFDALib.volume.formats import SUFFIXES

CHANNEL = re.compile(r"(.+)_(\d{4})")  # as nnU-Net names the files of a case
CHANNELS = ";"  # between the files of an image's channels, as in a manifest


@dataclass(frozen=True)
class Labelled:
    """A segmentation and its image.

    Args:
        labels: the file of the segmentation, on the image's grid.
        image: the image's files; several are its channels. Empty: the request's only image or, if
            it has several, the one with the same name as the segmentation.
    """

    labels: str
    image: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for word in (self.labels, *self.image):
            if not word or "\0" in word:
                raise RequestError(f"labels: found {word!r:.60} for a file, expected a name")
            check_name(word)

    def word(self) -> str:
        """The word that stands for it on the command line."""
        return "=".join(part for part in (CHANNELS.join(self.image), self.labels) if part)

    def absolute(self) -> Labelled:
        """The same with absolute paths."""
        return Labelled(os.path.abspath(self.labels), tuple(map(os.path.abspath, self.image)))


class LabelledFiles(Kind):
    """Segmentations to learn from, as a field of a request."""

    expected = "a list"

    def arguments(self, name: str, help: str) -> dict[str, Keywords]:
        """The argument, which takes one word or more and may be repeated."""
        metavar = "[IMAGE=]LABELS"
        return {name: {"help": help, "nargs": "+", "action": "extend", "metavar": metavar}}

    def parse(self, typed: Mapping[str, Any], stated: Mapping[str, Any]) -> tuple[Labelled, ...]:
        """The segmentations that were typed, a folder replaced by the files in it."""
        (words,) = typed.values()
        return parse(words)

    def read(self, value: object, where: str) -> tuple[Labelled, ...]:
        """The segmentations from a JSON list of objects."""
        if not isinstance(value, list):
            raise self.refusal(value, where)
        return from_json(value, where)

    def plain(self, value: tuple[Labelled, ...]) -> list[dict[str, Any]]:
        """The JSON list of the segmentations, one object each."""
        return [asdict(one) for one in value]


def parse(words: Sequence[str]) -> tuple[Labelled, ...]:
    """Segmentations from ``[IMAGE[;IMAGE...]=]LABELS`` words of the command line.

    A folder stands for the image files in it.
    """
    return tuple(one for word in words for one in _parse(word))


def _parse(word: str) -> list[Labelled]:
    image, equals, labels = word.rpartition("=")
    if equals and not os.path.exists(word):
        return [Labelled(labels, tuple(image.split(CHANNELS)))]
    if not os.path.isdir(word):
        return [Labelled(word)]
    found = sorted(os.path.join(word, name) for name in os.listdir(word))
    return [Labelled(file) for file in found if file.lower().endswith(SUFFIXES)]


def from_json(value: object, where: str) -> tuple[Labelled, ...]:
    """``[{"labels": "mask.nrrd", "image": "volume.nrrd" or [channels]}, ...]`` of a job file.

    Args:
        where: file and field, for the error.

    Raises:
        RequestError: anything else.
    """
    found = []
    for item in value if isinstance(value, list) else [value]:
        fields: dict[str, Any] = dict(item) if isinstance(item, dict) else {}
        image = fields.get("image", [])
        image = [image] if isinstance(image, str) else image
        if (
            not isinstance(fields.get("labels"), str)
            or set(fields) - {"labels", "image"}
            or not isinstance(image, list | tuple)
            or not all(isinstance(name, str) for name in image)
        ):
            raise RequestError(
                f'{where}: found {item!r:.60}, expected a list of objects with "labels", a file,'
                ' and "image", one file or a list of its channels\' files'
            )
        found.append(Labelled(fields["labels"], tuple(image)))
    return tuple(found)


def matched(labelled: Sequence[Labelled], images: Sequence[Sequence[str]]) -> tuple[Labelled, ...]:
    """The segmentations, each with the files of its image.

    Args:
        images: the files of each image of the request.

    Raises:
        RequestError: not exactly one image for a segmentation, or two segmentations of one image.
    """
    found: dict[tuple[str, ...], Labelled] = {}
    for one in labelled:
        name = stem(one.labels).removesuffix(".seg").casefold()
        same = [files for files in images if name in _names(files)]
        candidates = [one.image] if one.image else images if len(images) == 1 else same
        if len(candidates) != 1:
            raise RequestError(
                f"{one.labels}: found {len(same)} images of the name {name[:60]}, expected one;"
                " rename it, or give it as IMAGE=LABELS"
            )
        files = tuple(candidates[0])
        if files in found:
            raise RequestError(
                f"{one.labels}: found a second segmentation of {files[0]} beside"
                f" {found[files].labels}, expected one for each image; leave one out"
            )
        found[files] = replace(one, image=files)
    return tuple(found.values())


def _names(files: Sequence[str]) -> set[str]:
    """The names of an image in lower case; of channels such as case_0000 also the shared "case"."""
    name = stem(files[0]).casefold()
    return {name, CHANNEL.sub(r"\1", name)} if len(files) > 1 else {name}


def stem(file: str) -> str:
    """A file's name without its folder and without the ending of its image format."""
    name = os.path.basename(os.path.abspath(file))
    ending = max((s for s in SUFFIXES if name.lower().endswith(s)), key=len, default="")
    return name[: len(name) - len(ending)]


def check(labelled: Sequence[Labelled], methods: Sequence[str]) -> None:
    """Check that there are labels if, and only if, a method learns from them.

    Raises:
        RequestError: labels without such a method, or such a method without labels.
    """
    wanting = [name for name in methods if needs.LABELS in registry.find(name).needs]
    if wanting and not labelled:
        raise RequestError(f"method {wanting[0]} {registry.find(wanting[0]).lacks(())}")
    if labelled and not wanting:
        able = [name for name, method in registry.METHODS.items() if needs.LABELS in method.needs]
        raise RequestError(
            f"labels: found {labelled[0].labels}, expected none for {', '.join(methods)}, which"
            f" needs no labels; choose {', '.join(able)} or leave --labels out"
        )
