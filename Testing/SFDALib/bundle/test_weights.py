"""Weights that are damaged, hostile or of another network are refused, and no file is executed."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checked_bundles import (
    MODEL,
    load,
    refusal,
)
from torch import nn


def save_model(bundle: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    weights = torch.load(bundle / MODEL, weights_only=True)
    edit(weights)
    torch.save(weights, bundle / MODEL)
    return bundle


FIRST = "init_path.0.weight"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda w: w.pop(FIRST), "0 surplus weight(s)  and 1 missing (init_path.0.weight)"),
        (lambda w: w.update(extra=torch.zeros(1)), "1 surplus weight(s) (extra) and 0 missing"),
        (lambda w: w.clear(), "missing"),
        (lambda w: w.update({FIRST: w[FIRST][:2]}), "shape (2, 1, 3, 3)"),
        (lambda w: w.update({FIRST: w[FIRST].to(torch.int8)}), "type torch.int8"),
        (lambda w: w.update({FIRST: w[FIRST].to(torch.complex64)}), "type torch.complex64"),
        (lambda w: w[FIRST].view(-1)[:1].fill_(torch.nan), f"NaN or infinite numbers in {FIRST}"),
        (lambda w: w[FIRST].view(-1)[-1:].fill_(-torch.inf), "NaN or infinite"),
        (lambda w: w.update({FIRST: w[FIRST].to_sparse()}), "dense tensors"),
        (lambda w: w.update({FIRST: w[FIRST].to("meta")}), "dense tensors"),
        (lambda w: w.update({FIRST: torch.zeros(1).expand(10**5, 10**5)}), "(100000, 100000)"),
        (lambda w: w.update({FIRST: [1.0, 2.0]}), "dense tensors"),
        (lambda w: w.update({7: torch.zeros(1)}), "dense tensors"),
    ],
    ids=[
        *("missing", "surplus", "empty", "shape", "integer", "complex", "NaN", "infinite"),
        *("sparse", "meta", "expanded", "list", "key"),
    ],
)  # fmt: skip
def test_weights_that_are_not_the_networks_are_refused(
    bundle: Path, edit: Callable[[dict[str, Any]], object], words: str
) -> None:
    line = refusal(save_model(bundle, edit), load)
    assert f"{MODEL}: found" in line and words in line


def test_weights_of_another_kind_are_refused(bundle: Path) -> None:
    torch.save(torch.zeros(3), bundle / MODEL)
    assert "found Tensor" in refusal(bundle, load)


@pytest.mark.parametrize("content", [b"", b"hello world\n", b"PK\3\4 and then nothing"], ids=len)
def test_a_file_that_holds_no_weights_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / MODEL).write_bytes(content)
    assert f"{MODEL}: found" in refusal(bundle, load)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_weights_are_refused(bundle: Path, share: float) -> None:
    content = (bundle / MODEL).read_bytes()
    (bundle / MODEL).write_bytes(content[: int(len(content) * share)])
    assert f"{MODEL}: found" in refusal(bundle, load)


class Evil:
    """A pickle of this writes a file when it is opened."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.proof}'",)


def _as_pickle(proof: Path) -> bytes:
    return pickle.dumps(Evil(proof))


def _as_archive(proof: Path) -> bytes:
    stream = io.BytesIO()
    torch.save(OrderedDict({FIRST: torch.zeros(1), "evil": Evil(proof)}), stream)
    return stream.getvalue()


def _as_old_torch(proof: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"evil": Evil(proof)}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


@pytest.mark.parametrize("content_of", [_as_pickle, _as_archive, _as_old_torch])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(
    bundle: Path, tmp_path: Path, content_of: Callable[[Path], bytes]
) -> None:
    proof = tmp_path / "it ran"
    (bundle / MODEL).write_bytes(content_of(proof))
    assert "nothing in it was executed" in refusal(bundle, load)
    assert not proof.exists()
    if content_of is _as_pickle:  # and it would have run, had it been opened carelessly
        pickle.loads((bundle / MODEL).read_bytes())
        assert proof.exists()


def test_a_torchscript_archive_is_refused(bundle: Path) -> None:
    torch.jit.trace(nn.Conv2d(1, 4, 3), torch.zeros(1, 1, 8, 8)).save(bundle / MODEL)
    assert "TorchScript archive, which holds code" in refusal(bundle, load)


def test_weights_whose_files_have_names_of_no_letters_are_refused(bundle: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("m\u00f6del/data.pkl", b"")
    broken = stream.getvalue().replace("\u00f6".encode(), b"\xf3d")
    (bundle / MODEL).write_bytes(broken)
    assert "damaged archive" in refusal(bundle, load)


def test_weights_that_unpack_to_more_than_they_are_are_refused(bundle: Path) -> None:
    """Torch stores weights as they are; it would open an archive that somebody compressed."""
    torch.save(OrderedDict({FIRST: torch.zeros(25 << 20)}), bundle / MODEL)
    with zipfile.ZipFile(bundle / MODEL) as plain:
        entries = {name: plain.read(name) for name in plain.namelist()}
    with zipfile.ZipFile(bundle / MODEL, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries.items():
            packed.writestr(name, content)
    assert (bundle / MODEL).stat().st_size < 1 << 20
    line = refusal(bundle, load)
    assert f"{MODEL}: found" in line and "do not trust this file" in line


def test_torchs_own_reason_is_told_and_not_its_advice(bundle: Path) -> None:
    """The class that weights do not consist of is named at the end of a text of many lines."""
    torch.save({"weights": torch.ones(2), "path": Path("x")}, bundle / "models/model.pt")
    line = refusal(bundle, load)
    assert "Unsupported global: GLOBAL pathlib" in line and "safe_globals" not in line
