"""Read access to the files of a bundle, in a folder or a .zip, within bounds on their sizes.

A .zip is not unpacked to disk, and no file is executed. Standard library alone.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from SFDALib import json_file
from SFDALib.errors import RequestError
from SFDALib.hashing import sha256_of_named

METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"
MODEL = "models/model.pt"
EARLY_HEAD = "models/early_head.pt"
DIFFUSION = "models/diffusion.pt"
DOCUMENTS = ("LICENSE", "docs/README.md")
TEXT_LIMIT = json_file.LIMIT
WEIGHTS_LIMIT = 8 << 30
WEIGHTS_SUFFIXES = (".pt", ".pth", ".ckpt")
TOTAL_LIMIT = 16 << 30
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
RATIO_LIMIT = 50  # unpacked over packed size of a .zip; weights hardly compress, a zip bomb does


class BundleFiles:
    """The files of a bundle by their names inside it, such as ``METADATA``.

    Args:
        path: the folder or .zip.

    Raises:
        RequestError: no such bundle, not a bundle, or a .zip that is hostile.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not os.path.exists(self.path):  # False also where a parent folder may not be entered
            raise RequestError(
                f"{self.path}: no such bundle, expected a folder or .zip; check the path"
            )
        if not os.access(self.path, os.R_OK):
            raise RequestError(
                f"{self.path}: no permission to read it, expected read access; ask its owner"
            )
        self._archive: dict[str, zipfile.ZipInfo] | None = None
        self._read: dict[str, bytes] = {}  # JSON files as they were read
        self._json: dict[str, Any] = {}
        self._prefix = ""
        if self.path.is_file():
            self._refuse_weights()
            self._archive = self._open_archive()
            inside = [name for name in self._archive if name.endswith(METADATA)]
            if inside:
                self._prefix = min(inside, key=len).removesuffix(METADATA)
        if not self.has(METADATA):
            raise RequestError(
                f"{self.path}: found no {METADATA}, expected a MONAI bundle (folder or"
                " .zip) or the folder of a model trained by nnU-Net v2 (with plans.json); choose"
                " the folder that holds these, or import a state dict with SFDALib import-model"
            )

    def _refuse_weights(self) -> None:
        if self.path.suffix.lower() in WEIGHTS_SUFFIXES:
            raise RequestError(
                f"{self.path}: found weights without a description of their model, expected a"
                " bundle; SFDALib import-model --template writes a description to fill in, and"
                " import-model --describe makes a bundle of both"
            )

    def _open_archive(self) -> dict[str, zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise RequestError(
                f"{self.path}: found a file that is no .zip or is damaged ({error}), expected a"
                " bundle folder or .zip; copy it again"
            ) from error
        for entry in entries:
            name = PurePosixPath(entry.filename.replace("\\", "/"))
            if name.is_absolute() or ".." in name.parts or ":" in entry.filename:
                raise RequestError(
                    f'{self.path}: found the entry "{entry.filename[:80]}", which points outside'
                    " the bundle; expected plain names; do not trust this file"
                )
            if entry.flag_bits & 1 or entry.compress_type not in COMPRESSIONS:
                raise RequestError(
                    f'{self.path}: found the entry "{entry.filename[:80]}" encrypted or compressed'
                    " by an unusual method, expected a plain .zip; pack it again"
                )
        total = sum(entry.file_size for entry in entries)
        packed = self.path.stat().st_size  # as on disk; the sizes in the archive may be wrong
        if total > TOTAL_LIMIT or total > RATIO_LIMIT * max(packed, 1 << 16):
            raise RequestError(
                f"{self.path}: found {packed} bytes that unpack to {total}, expected weights, which"
                " hardly compress; do not trust this file"
            )
        return {entry.filename: entry for entry in entries}

    def has(self, name: str) -> bool:
        """Whether the bundle has a file of this name."""
        if self._archive is not None:
            return self._prefix + name in self._archive
        return os.path.isfile(self.path / name)

    @contextmanager
    def open(self, name: str, limit: int) -> Iterator[IO[bytes]]:
        """Open one file of the bundle for reading.

        Raises:
            RequestError: it is missing, damaged, larger than ``limit`` bytes, or a link to a file
                outside the bundle.
        """
        if not self.has(name):
            raise RequestError(
                f"{self.path}: found no {name}, expected it in the bundle; the copy is incomplete:"
                " copy it again or write the bundle again"
            )
        try:
            if self._archive is None:
                file = self.path / name
                if not file.resolve().is_relative_to(self.path.resolve()):
                    raise RequestError(
                        f"{self.path}: found {name} to be a link to a file outside the bundle,"
                        " expected the file itself; put a copy in its place"
                    )
                self._check_size(name, file.stat().st_size, limit)
                with open(file, "rb") as stream:
                    yield stream
            else:
                entry = self._archive[self._prefix + name]
                self._check_size(name, entry.file_size, limit)
                with zipfile.ZipFile(self.path) as archive, archive.open(entry) as stream:
                    yield stream
        except PermissionError as error:
            raise RequestError(
                f"{self.path}: no permission to read {name}, expected read access; ask its owner"
            ) from error
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
            raise RequestError(
                f"{self.path}: found {name} damaged ({error}), expected a whole file; copy it again"
            ) from error

    def _check_size(self, name: str, size: int, limit: int) -> None:
        if size > limit:
            raise RequestError(
                f"{self.path}: found {name} of {size} bytes, expected at most {limit}; copy"
                " the bundle again"
            )

    def json(self, name: str) -> Any:
        """The value of a JSON file, which is read and parsed once. Do not change it."""
        if name not in self._json:
            with self.open(name, TEXT_LIMIT) as stream:
                self._read[name] = stream.read(TEXT_LIMIT + 1)
            self._json[name] = json_file.parse(self._read[name], f"{self.path}: {name}")
        return self._json[name]

    def documents(self) -> dict[str, str]:
        """The licence and the README, as far as the bundle has them, by their names."""
        texts = {}
        for name in DOCUMENTS:
            if self.has(name):
                with self.open(name, TEXT_LIMIT) as stream:
                    texts[name] = stream.read(TEXT_LIMIT).decode("utf-8", "replace")
        return texts

    def sha256(self, names: Iterable[str]) -> str:
        """One SHA-256 over the names and contents of those files that the bundle has.

        The files are read again, so that a second call tells whether they have changed.

        Raises:
            RequestError: a JSON file has changed since ``json`` read it.
        """
        there = [name for name in names if self.has(name)]
        openers = ((name, partial(self.open, name, WEIGHTS_LIMIT)) for name in there)
        return sha256_of_named(openers, str(self.path), self._read)
