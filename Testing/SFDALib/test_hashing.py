"""Checksums of files, of folders and of named files, by hand and by the standard library."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from refusals import refusal

from SFDALib.hashing import opener, sha256, sha256_of_named


def test_the_checksum_of_a_file_is_that_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert sha256(tmp_path / "a") == expected


def test_a_checksum_of_named_files_is_over_names_and_contents(tmp_path: Path) -> None:
    large = bytes(range(256)) * 10_000  # more than one block
    (tmp_path / "a").write_bytes(large)
    (tmp_path / "b").write_bytes(b"abc")
    files = [(name, opener(tmp_path / name)) for name in ("a", "b")]
    expected = hashlib.sha256(b"a" + large + b"b" + b"abc").hexdigest()
    assert sha256_of_named(files, "here") == expected
    assert sha256_of_named(files, "here", {"b": b"abc"}) == expected
    assert sha256_of_named(files[::-1], "here") != expected


@pytest.mark.parametrize("content", [b"", b"ab", b"abd", b"abcd"])
def test_a_file_that_changed_since_it_was_read_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b").write_bytes(content)
    files = [("b", opener(tmp_path / "b"))]
    line = refusal(lambda: sha256_of_named(files, "here", {"b": b"abc"}))
    assert line.startswith("here: found other content in b")


def test_the_checksum_of_a_folder_tells_names_and_contents(tmp_path: Path) -> None:
    def digest(**files: str) -> str:
        folder = tmp_path / "f"
        shutil.rmtree(folder, ignore_errors=True)
        for name, text in files.items():
            path = folder / name.replace("_", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return sha256(folder)

    one = digest(b="2", a="1", c_d="3")
    assert one == digest(c_d="3", a="1", b="2")
    others = {
        digest(a="2", b="1", c_d="3"),
        digest(a="1", b="2"),
        digest(a="1", b="2", c_e="3"),
    }
    assert len(others | {one}) == 4
    lines = "".join(
        f"{hashlib.sha256(text).hexdigest()}  {name}\n"
        for name, text in (("a", b"1"), ("b", b"2"), ("c/d", b"3"))
    )
    assert one == hashlib.sha256(lines.encode()).hexdigest()
