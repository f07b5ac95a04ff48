"""The files of a bundle, in a folder or a .zip; missing, damaged and hostile ones are refused."""

from __future__ import annotations

import os
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from bundles import describe
from checked_bundles import (
    INFERENCE,
    METADATA,
    MODEL,
    load,
    refusal,
    zipped,
)

from SFDALib.bundle import bundle_files
from SFDALib.bundle.open_model import open_model
from SFDALib.jobs.inspect import inspect


@pytest.mark.parametrize("prefix", ["", "ModelName/"])
def test_a_zip_is_the_same_bundle_as_its_folder(
    tiny_bundle: Path, tmp_path: Path, prefix: str
) -> None:
    archive = zipped(tiny_bundle, tmp_path / "bundle.zip", prefix)
    folder, packed = load(tiny_bundle), load(archive)
    assert packed.description == folder.description == describe()
    assert packed.documents == folder.documents
    assert set(folder.documents) == {"LICENSE", "docs/README.md"}
    for name in ("network", "early_head", "diffusion"):
        ours, theirs = (getattr(model, name).state_dict() for model in (folder, packed))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert open_model(archive).sha256() == open_model(tiny_bundle).sha256()
    assert inspect(archive) == inspect(tiny_bundle)


def test_the_digest_changes_with_any_weight(bundle: Path) -> None:
    before = open_model(bundle).sha256()
    weights = torch.load(bundle / bundle_files.DIFFUSION, weights_only=True)
    next(iter(weights.values())).view(-1)[0] += 1
    torch.save(weights, bundle / bundle_files.DIFFUSION)
    assert open_model(bundle).sha256() != before


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    assert f"found no {METADATA}" in refusal(tmp_path)


@pytest.mark.parametrize(
    "name", [INFERENCE, MODEL, bundle_files.EARLY_HEAD, bundle_files.DIFFUSION]
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_missing_file_is_named(bundle: Path, tmp_path: Path, name: str, packed: bool) -> None:
    (bundle / name).unlink()
    path = zipped(bundle, tmp_path / "b.zip") if packed else bundle
    assert f"found no {name}" in refusal(path)
    assert f"found no {name}" in refusal(path, load)


@pytest.mark.parametrize("name", [METADATA, INFERENCE])
@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no valid JSON"),
        (b'{"sfda": ', "no valid JSON"),
        (b"\xff\xfe\x00", "no valid JSON"),
        (b'{"name": 1' + b"0" * 5000 + b"}", "no valid JSON"),
        (b"[" * 900 + b"]" * 900, "32 levels deep"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "32 levels deep"),
        (b"[" * 200_000 + b"]" * 200_000, "no valid JSON"),
        (b'"' + b"x" * bundle_files.TEXT_LIMIT + b'"', "expected at most"),
        (b"[]", "expected an object"),
        (b"null", "expected an object"),
    ],
    ids=["empty", "cut", "bytes", "digits", "deep", "objects", "abyss", "huge", "list", "null"],
)
def test_a_json_file_that_is_none_is_refused(
    bundle: Path, name: str, content: bytes, word: str
) -> None:
    (bundle / name).write_bytes(content)
    line = refusal(bundle)
    assert name in line and word in line


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_text("hello world\n")
    assert "no .zip or is damaged" in refusal(tmp_path / "b.zip")


@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_a_truncated_zip_is_refused(tiny_bundle: Path, tmp_path: Path, share: float) -> None:
    archive = zipped(tiny_bundle, tmp_path / "b.zip")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    assert "damaged" in refusal(archive)


def test_a_zip_with_a_changed_byte_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = zipped(tiny_bundle, tmp_path / "b.zip")
    with zipfile.ZipFile(archive) as packed:
        start = packed.getinfo(MODEL).header_offset + 30 + len(MODEL)
    for offset in (start + 1, start + 3000):
        content = bytearray(archive.read_bytes())
        content[offset] ^= 0xFF
        (tmp_path / "changed.zip").write_bytes(content)
        assert MODEL in refusal(tmp_path / "changed.zip", load)


@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "configs/../../evil", "/etc/passwd", "..\\evil", "C:\\evil", "\\\\host\\evil"],
)
def test_a_zip_with_names_that_lead_outside_is_refused(
    tiny_bundle: Path, tmp_path: Path, name: str
) -> None:
    archive = zipped(tiny_bundle, tmp_path / "b.zip")
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr(name, "evil")
    assert "points outside the bundle" in refusal(archive)


def test_a_zip_bomb_is_refused_unopened(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = zipped(tiny_bundle, tmp_path / "b.zip")
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("models/other.pt", bytes(100 << 20))
    assert "do not trust this file" in refusal(archive)


def declare(archive: Path, name: str, packed: int, unpacked: int) -> None:
    """Let the archive's directory lie about the sizes of one entry."""
    content = bytearray(archive.read_bytes())
    place = content.rfind(name.encode()) - 46
    assert content[place : place + 4] == b"PK\1\2"
    content[place + 20 : place + 28] = struct.pack("<2I", packed, unpacked)
    archive.write_bytes(content)


@pytest.mark.parametrize("packed", [100, 0xF0000000], ids=["small", "as if stored"])
def test_a_zip_that_declares_more_than_it_can_hold_is_refused(
    tiny_bundle: Path, tmp_path: Path, packed: int
) -> None:
    archive = zipped(tiny_bundle, tmp_path / "b.zip")
    declare(archive, MODEL, packed, 0xF0000000)
    assert "do not trust this file" in refusal(archive, load)


def test_a_zip_that_declares_less_than_it_holds_is_refused(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    archive = zipped(tiny_bundle, tmp_path / "b.zip")
    declare(archive, MODEL, 100, 200)
    assert MODEL in refusal(archive, load)


def test_an_encrypted_zip_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = zipped(tiny_bundle, tmp_path / "b.zip")
    content = bytearray(archive.read_bytes())
    content[content.rfind(MODEL.encode()) - 46 + 8] |= 1
    archive.write_bytes(content)
    assert "encrypted" in refusal(archive)


def test_a_rarely_compressed_zip_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "b.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as packed:
        packed.write(tiny_bundle / METADATA, METADATA)
    assert "pack it again" in refusal(archive)


@pytest.mark.parametrize("name", [METADATA, MODEL, "LICENSE"])
def test_a_link_out_of_the_bundle_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    """What a bundle holds is copied into adapted bundles: a link may not fetch a private file."""
    outside = tmp_path / "outside"
    shutil.copy(bundle / name, outside)
    (bundle / name).unlink()
    (bundle / name).symlink_to(outside)
    line = refusal(bundle, load)
    assert name in line and "outside the bundle" in line


def test_links_within_and_to_a_bundle_are_followed(bundle: Path, tmp_path: Path) -> None:
    (bundle / MODEL).rename(bundle / "models/weights.pt")
    (bundle / MODEL).symlink_to("weights.pt")
    (tmp_path / "link").symlink_to(bundle, target_is_directory=True)
    assert load(tmp_path / "link").description == describe()


def test_a_bundle_without_permission_is_refused_as_such(bundle: Path) -> None:
    (bundle / MODEL).chmod(0)
    if os.access(bundle / MODEL, os.R_OK):
        pytest.skip("this user may read everything: permissions cannot be tested as root")
    assert "no permission" in refusal(bundle, load)
