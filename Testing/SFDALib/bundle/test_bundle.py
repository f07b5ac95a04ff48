"""A bundle says what it is, MONAI can read it, and a hostile or damaged one is told as such."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bundles import describe, write_bundle
from monai.bundle import ConfigParser
from paths import ROOT
from torch import nn

from SFDALib.__main__ import main
from SFDALib.bundle import bundle_files, source
from SFDALib.bundle import description as about
from SFDALib.bundle.description import Description
from SFDALib.bundle.open_model import open_model
from SFDALib.errors import RequestError
from SFDALib.jobs.inspect import in_words, inspect
from SFDALib.networks.build import build_network
from SFDALib.volume.input_spec import InputSpec, Region, Resampling
from SFDALib.volume.normalisation import Normalisation

CPU = torch.device("cpu")
METADATA, INFERENCE, MODEL = about.METADATA, about.INFERENCE, bundle_files.MODEL


def dynunet(spatial_dims: int = 3, outputs: int = 3) -> dict[str, Any]:
    return {
        "_target_": "monai.networks.nets.DynUNet",
        "spatial_dims": spatial_dims,
        "in_channels": 1,
        "out_channels": outputs,
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, [2] * spatial_dims],
        "upsample_kernel_size": [2, [2] * spatial_dims],
        "filters": [4, 8, 16],
        "norm_name": ["INSTANCE", {"affine": True}],
        "res_block": True,
    }


def describe_dynunet() -> Description:
    return replace(describe(3, 3), network=dynunet())


DESCRIPTIONS = {
    "2D, binary": describe(),
    "2D, binary, 2 outputs": replace(describe(), network=describe().network | {"out_channels": 2}),
    "2D, three channels": describe(2, 4, channels=3),
    "3D, three classes": describe(3, 3),
    "3D DynUNet": describe_dynunet(),
    "as nnU-Net": replace(
        describe_dynunet(),
        network=dynunet(outputs=2),
        early_head=None,
        diffusion=None,
        input_spec=InputSpec(
            1,
            None,
            (1.5, 1.5, 3.0),
            (
                Normalisation("zscore", within="body", channels=(0,)),
                Normalisation("fixed", 0.0, 255.0, 0.0, 255.0),
            ),
            is_2d=False,
            axes=(1, 0, 2),
            crop="nonzero",
            resampling=Resampling(3, False, True, True, "logits"),
            regions=(Region(1, 1), Region(0, 2)),
        ),
        windows="even",
        mirror_axes=(0, 2),
        ensemble=5,
    ),
    "plain": dataclasses.replace(
        describe(),
        early_head=None,
        diffusion=None,
        temperature=1.7,
        input_spec=dataclasses.replace(
            describe().input_spec,
            orientation=None,
            normalisation=Normalisation("fixed", -160.0, 240.0, 40.5, 99.25),
        ),
        provenance={"cases": 12, "seed": 0, "curve": [0.5, 0.25]},
        licence="CC-BY 4.0",
    ),
}


def zipped(bundle: Path, archive: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(bundle.rglob("*")):
            if file.is_file():
                packed.write(file, prefix + file.relative_to(bundle).as_posix())
    return archive


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, to be damaged."""
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


def change(bundle: Path, name: str, edit: Callable[[dict[str, Any]], object]) -> Path:
    """Edit one of the bundle's JSON files."""
    content = json.loads((bundle / name).read_text())
    edit(content)
    (bundle / name).write_text(json.dumps(content))
    return bundle


def refusal(path: Path, action: Callable[[Path], object] = inspect) -> str:
    """The one line with which an unusable bundle is refused; it names the bundle."""
    with pytest.raises(RequestError) as caught:
        action(path)
    line = str(caught.value)
    assert caught.value.exit_status == 2
    assert len(line.splitlines()) == 1
    assert str(path) in line
    return line


def load(path: Path) -> source.Source:
    return open_model(path).load(CPU)


# What a bundle is


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description_survives_its_json(name: str) -> None:
    metadata, inference = json.loads(json.dumps(about.to_json(DESCRIPTIONS[name])))
    again = about.from_json(metadata, inference)
    assert again == DESCRIPTIONS[name]
    assert json.loads(json.dumps(about.to_json(again))) == [metadata, inference]


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


def test_a_loaded_model_is_ready_to_infer_and_not_to_train(tiny_bundle: Path) -> None:
    model = load(tiny_bundle)
    for network in (model.network, model.early_head, model.diffusion):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
    assert open_model(tiny_bundle).load(CPU, diffusion=False).diffusion is None


def test_the_digest_changes_with_any_weight(bundle: Path) -> None:
    before = open_model(bundle).sha256()
    weights = torch.load(bundle / bundle_files.DIFFUSION, weights_only=True)
    next(iter(weights.values())).view(-1)[0] += 1
    torch.save(weights, bundle / bundle_files.DIFFUSION)
    assert open_model(bundle).sha256() != before


def test_weights_in_half_precision_load_as_single(tmp_path: Path) -> None:
    description = replace(describe(), early_head=None, diffusion=None)
    torch.manual_seed(0)
    weights = build_network(description.network).state_dict()
    for name, saved in (("single", weights), ("half", source.half(weights))):
        (tmp_path / name).mkdir()
        source.write(tmp_path / name, description, saved)
    sizes = [(tmp_path / name / MODEL).stat().st_size for name in ("half", "single")]
    assert sizes[0] < 0.75 * sizes[1]
    loaded = load(tmp_path / "half").network.state_dict()
    for key, value in weights.items():
        assert loaded[key].dtype == value.dtype
        torch.testing.assert_close(loaded[key], value, rtol=1e-3, atol=1e-6)


# MONAI reads it

# The mandatory keys of docs/source/mb_specification.rst.
MONAI_KEYS = {
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
}
MONAI_TENSOR_KEYS = {
    "type",
    "format",
    "modality",
    "num_channels",
    "spatial_shape",
    "dtype",
    "value_range",
    "is_patch_data",
    "channel_def",
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_the_metadata_have_all_that_monai_asks_for(tmp_path: Path, name: str) -> None:
    description = DESCRIPTIONS[name]
    source.write(tmp_path / "bundle", description, {})
    metadata = json.loads((tmp_path / "bundle" / METADATA).read_text())
    assert set(metadata) >= MONAI_KEYS
    assert metadata["monai_version"].count(".") == 2
    assert set(metadata["network_data_format"]) == {"inputs", "outputs"}
    tensors = [
        metadata["network_data_format"]["inputs"]["image"],
        metadata["network_data_format"]["outputs"]["pred"],
    ]
    for tensor, channels in zip(
        tensors, (description.input_spec.channels, description.network["out_channels"]), strict=True
    ):
        assert set(tensor) >= MONAI_TENSOR_KEYS
        assert tensor["num_channels"] == channels
        assert list(tensor["channel_def"]) == [str(index) for index in range(channels)]
        assert tensor["spatial_shape"] == list(description.patch_size)
    # "labels": one channel for each class; "segmentation": one channel.
    one = description.network["out_channels"] == 1
    assert tensors[1]["format"] == ("segmentation" if one else "labels")


@pytest.mark.parametrize("name", ["2D, binary", "3D, three classes", "3D DynUNet"])
def test_monai_builds_the_networks_and_plain_torch_loads_the_weights(
    tmp_path: Path, name: str
) -> None:
    path = write_bundle(tmp_path / "bundle", DESCRIPTIONS[name])
    parser = ConfigParser()
    parser.read_meta(path / METADATA)
    parser.read_config(path / INFERENCE)
    assert parser.get("_meta_")["sfda"]["patch_size"] == list(DESCRIPTIONS[name].patch_size)
    model = load(path)
    for key, file, ours in (
        ("network_def", MODEL, model.network),
        ("diffusion_def", bundle_files.DIFFUSION, model.diffusion),
    ):
        theirs = parser.get_parsed_content(key)
        assert type(theirs) is type(ours)
        theirs.load_state_dict(torch.load(path / file, weights_only=True), strict=True)
        theirs.eval()
        for a, b in zip(theirs.parameters(), ours.parameters(), strict=True):
            assert torch.equal(a, b)
    image = torch.rand(1, 1, *DESCRIPTIONS[name].patch_size)
    theirs = parser.get_parsed_content("network_def").eval()
    theirs.load_state_dict(torch.load(path / MODEL, weights_only=True))
    assert torch.equal(theirs(image), model.network(image))


# Inspecting


def test_inspect_says_what_a_bundle_is_in_words(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tiny_bundle)]) in (0, None)
    words = capsys.readouterr().out
    assert words.rstrip("\n") == in_words(inspect(tiny_bundle))
    for word in (
        "Tiny test model",
        "synthetic head",
        "Brain (10 to 200 ml)",
        "ResidualUNet, 2D, 1 channel(s)",
        "LPS, spacing 3 x 3 x as is mm, percentile normalisation",
        "heal",
        "early-features",
    ):
        assert word in words


def test_inspect_says_the_same_as_data(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tiny_bundle), "--json"]) in (0, None)
    facts = json.loads(capsys.readouterr().out)
    assert facts == inspect(tiny_bundle)
    assert facts["labels"][0] == {
        "value": 1,
        "name": "Brain",
        "color": [250, 170, 70],
        "terminology": "Segmentation category and type - DICOM master list"
        "~SCT^123037004^Anatomical Structure~SCT^12738006^Brain~^^"
        "~Anatomic codes - DICOM master list~^^~^^",
        "size_ml": [10.0, 200.0],
    }
    assert facts["spacing_mm"] == [3.0, 3.0, None]


def test_inspect_says_which_methods_a_bundle_cannot_serve(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    plain = DESCRIPTIONS["plain"]
    source.write(tmp_path / "plain", plain, build_network(plain.network).state_dict())
    facts = inspect(tmp_path / "plain")
    assert set(facts["unavailable"]) == {"heal", "early-features", "muvi", "few-labels"}
    assert "not possible    heal: " in in_words(facts)


def test_inspect_of_an_unusable_bundle_ends_with_status_2_and_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "SFDALib", "inspect", str(tmp_path / "none")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "no such bundle" in line


# Files that are missing, damaged or hostile


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


# Weights


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


# The network's definition


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"_target_": "os.system"}, '"_target_": "os.system", which is not on the list'),
        ({"_target_": "monai.networks.nets.AutoEncoder"}, "expected one of"),
        ({"_target_": ["os.system"]}, "without a network name"),
        ({"_target_": "$__import__('os').system"}, "not on the list"),
        ({"_target_": "evil\nsecond line"}, "not on the list"),
        ({"features": "$__import__('os').system('true')"}, "the expression"),
        ({"features": "@network_def#in_channels"}, "the expression"),
        ({"features": "%configs/other.json"}, "the expression"),
        ({"features": [4, {"x": "$1 + 1"}]}, "the expression"),
        ({"features": "$1\n+ 1"}, "the expression"),
        ({"_disabled_": True}, 'the instruction "_disabled_"'),
        ({"_requires_": "$import os"}, 'the instruction "_requires_"'),
        ({"_mode_": "callable"}, 'the instruction "_mode_"'),
        ({"features": {"_target_": "os.system", "command": "true"}}, 'the instruction "_target_"'),
        ({"features": 10**9}, "the number 1000000000, expected at most"),
        ({"features": -(10**30)}, "expected at most"),
        ({"features": float("inf")}, "expected at most"),
        ({"features": float("nan")}, "expected at most"),
    ],
)
def test_a_definition_that_is_more_than_data_is_refused_before_anything_is_imported(
    bundle: Path, arguments: dict[str, Any], words: str
) -> None:
    change(bundle, INFERENCE, lambda content: content["network_def"].update(arguments))
    line = refusal(bundle)
    assert f"{INFERENCE}, network_def" in line and words in line


def test_a_hostile_diffusion_network_is_refused_too(bundle: Path) -> None:
    change(bundle, INFERENCE, lambda content: content["diffusion_def"].update(_target_="os.system"))
    assert f"{INFERENCE}, diffusion_def" in refusal(bundle)


def test_a_missing_definition_is_named(bundle: Path) -> None:
    change(bundle, INFERENCE, lambda content: content.pop("network_def"))
    assert f"{INFERENCE}, network_def" in refusal(bundle)


RESIDUAL = describe().network
DIFFUSION = describe().diffusion.network


@pytest.mark.parametrize(
    ("definition", "changes"),
    [
        (RESIDUAL, {"features": 10**9}),
        (RESIDUAL, {"features": 10**6}),
        (RESIDUAL, {"features": 4096}),
        (RESIDUAL, {"features": 10**30}),
        (RESIDUAL, {"features": -1}),
        (RESIDUAL, {"features": 2.5}),
        (RESIDUAL, {"features": True}),
        (RESIDUAL, {"features": "16"}),
        (RESIDUAL, {"features": None}),
        (RESIDUAL, {"spatial_dims": 7}),
        (dynunet(), {"filters": [10**6] * 3}),
        (dynunet(), {"kernel_size": [10**5, 3, 3]}),
        (dynunet(), {"kernel_size": "abc"}),
        (dynunet(), {"norm_name": "os.system"}),
        (dynunet(), {"filters": "abc"}),
        (dynunet(), {"kernel_size": [3] * 3000, "strides": [1] * 3000, "filters": [1] * 3000,
                     "upsample_kernel_size": [1] * 2999}),
        (DIFFUSION, {"num_res_blocks": 10**6}),
        (DIFFUSION, {"channels": [10**6, 8]}),
        (DIFFUSION, {"channels": [8] * 4000, "attention_levels": [False] * 4000,
                     "num_head_channels": [8] * 4000}),
    ],
    ids=str,
)  # fmt: skip
def test_an_absurd_network_is_refused_without_filling_the_memory(
    definition: dict[str, Any], changes: dict[str, Any]
) -> None:
    before, started = _peak_mb(), time.monotonic()
    with pytest.raises(RequestError) as caught:
        build_network(copy.deepcopy(definition) | changes, "bundle: network_def")
    line = str(caught.value)
    assert line.startswith("bundle: network_def: ") and len(line.splitlines()) == 1
    assert len(line) < 500
    assert _peak_mb() - before < 500
    assert time.monotonic() - started < 60


def _peak_mb() -> float:
    resource = pytest.importorskip("resource")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def test_rehearsing_a_network_leaves_the_random_numbers_as_they_are() -> None:
    from SFDALib.networks.residual_unet import ResidualUNet

    torch.manual_seed(3)
    ours = build_network(RESIDUAL).state_dict()
    torch.manual_seed(3)
    plain = ResidualUNet(2, 1, 1, 4).state_dict()
    assert all(torch.equal(ours[key], plain[key]) for key in plain)


# The metadata


def _set(*path: str | int) -> Callable[[dict[str, Any], object], None]:
    def edit(content: dict[str, Any], value: object) -> None:
        for key in path[:-1]:
            content = content[key]
        if value is ...:
            del content[path[-1]]
        else:
            content[path[-1]] = value

    return edit


INF, NAN = float("inf"), float("nan")
BAD_FIELDS: dict[tuple[str | int, ...], list[object]] = {
    ("name",): [..., None, 7, ["a"], "two\nlines"],
    ("sfda",): [None, [], "x"],  # without it, it is a bundle of MONAI's
    ("copyright",): [None, 7, "two\nlines"],
    ("network_data_format",): [..., None],
    ("network_data_format", "inputs", "image", "num_channels"): [..., 0, -1, True, "1", 1.0, 2],
    ("sfda", "modality"): [..., None, 3],
    ("sfda", "labels"): [..., None, [], {}, [None], [7]],
    ("sfda", "labels", 0, "value"): [..., 0, 2, -1, True, "1", 1.0, None],
    ("sfda", "labels", 0, "name"): [..., 1, None, "two\nlines", "two\u2028lines"],
    ("sfda", "labels", 0, "color"): [..., [1, 2], [1, 2, 256], [1, 2, -1], [1, True, 2],
                                     [1, 2, 0.5]],
    ("sfda", "labels", 0, "terminology"): [7, "two\nlines", "Brain", "~~~~~~", "a~^^~^^~^^~b~^^~^^",
                                           "a~S^1^A~S^2^B~^^~b~^^~^^|more:1"],
    ("sfda", "labels", 0, "size_ml"): [[1], [0, 5], [5, 1], [True, 5], [1, NAN], [1, INF], "1, 5"],
    ("sfda", "labels", 0, "mean_ml"): [0, -1, True, "60", NAN, INF, 10**400],
    ("sfda", "labels", 0, "slice_area_mm2"): [0, -1, False, [], NAN],
    ("sfda", "orientation"): ["LP", "LPSS", "LLS", "lps", "XYZ", "", "LPL", 7, True, ["L"]],
    ("sfda", "spacing"): [..., None, [1, 1], [1, 1, 0], [1, 1, -1], [1, True, 1], [1, 1, NAN],
                          [1, 1, 1e9], [1, 1, "1"], [1, 1, 10**400]],
    ("sfda", "patch_size"): [..., None, [32], [32, 32, 32], [32, 0], [32, -8], [32, 31], [32, 32.5],
                             [32, True], [32, "32"], [32, None], [32, 8 * 10**9]],
    ("sfda", "temperature"): [None, 0, -1, True, "1", NAN, INF, -INF, 10**400],
    ("sfda", "normalisation"): [..., None, [], {}, {"kind": "magic"}, {"kind": ["zscore"]},
                                {"kind": {}}, {"kind": "zscore", "extra": 1}],
    ("sfda", "normalisation", "lower"): [True, "0", None, NAN, 100, -1, 10**400],
    ("sfda", "normalisation", "upper"): [False, 101, 0, INF],
    ("sfda", "normalisation", "std"): [0, -1, True, NAN],
    ("sfda", "early_head"): [[], 7, True, {}],
    ("sfda", "early_head", "level"): [..., 2, -1, True, "0", 0.0],
    ("sfda", "early_head", "channels"): [..., 0, -4, 10**9, True, 4.0],
    ("sfda", "diffusion"): [[], 7, {}],
    ("sfda", "diffusion", "timesteps"): [..., 1, 10**6, True, 50.0],
    ("sfda", "diffusion", "spacing"): [..., [1, 1, 0], [1, 1]],
    ("sfda", "diffusion", "foreground"): [..., 1, None, "yes"],
    ("sfda", "diffusion", "source_only"): [..., 1, None],
    ("sfda", "provenance"): [None, [], "x"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, values in BAD_FIELDS.items() for value in values],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else f"{value!r:.25}",
)
def test_a_field_of_the_metadata_that_is_not_as_it_must_be_is_named(
    bundle: Path, path: tuple[str | int, ...], value: object
) -> None:
    change(bundle, METADATA, lambda content: _set(*path)(content, value))
    line = refusal(bundle)
    assert "configs/" in line
    names = [key for key in path if isinstance(key, str)]
    assert any(name in line for name in (names[-1], names[-1].replace("_", " "), names[-1][:-1]))
    assert "expected" in line and len(line) < 500


def test_labels_must_be_counted_without_gaps(bundle: Path) -> None:
    def add(content: dict[str, Any]) -> None:
        content["sfda"]["labels"].append(dict(content["sfda"]["labels"][0], value=3))

    assert "found the values [1, 3], expected 1, 2, 3, ..." in refusal(
        change(bundle, METADATA, add)
    )


def test_as_many_labels_as_the_network_has_outputs_are_expected(bundle: Path) -> None:
    def add(content: dict[str, Any]) -> None:
        content["sfda"]["labels"].append(dict(content["sfda"]["labels"][0], value=2))
        content["sfda"]["diffusion"] = None

    assert "found 2 label(s)" in refusal(change(bundle, METADATA, add))


@pytest.mark.parametrize("strides", [..., None, [], [1, "2", 2], [0, 2], [1, [], 2], 7, [1, -2]])
def test_the_strides_of_a_dynunet_must_be_whole_numbers(tmp_path: Path, strides: object) -> None:
    path = write_bundle(tmp_path / "bundle", describe_dynunet())
    change(path, INFERENCE, lambda content: _set("network_def", "strides")(content, strides))
    line = refusal(path, load)
    assert f"{INFERENCE}, network_def" in line


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("axes", [0, 1]),
        ("axes", [0, 1, 1]),
        ("crop", "all"),
        ("resampling", {"order": 9}),
        ("resampling", {"orders": 1}),
        ("resampling", {"smooth": 1}),
        ("resampling", {"maps": "labels"}),
        ("regions", [{"channel": 1, "label": 1}]),
        ("regions", [{"channel": 0}]),
        ("windows", "wide"),
        ("mirror_axes", [2]),
        ("ensemble", 0),
        ("ensemble", 10**6),
        ("normalisation", []),
        ("normalisation", [{"kind": "zscore", "channels": [3]}]),
        ("normalisation", [{"kind": "zscore", "channels": 0}]),
        ("normalisation", {"kind": "zscore", "within": "head"}),
    ],
)
def test_a_field_of_the_grid_that_it_cannot_have_is_named(
    bundle: Path, field: str, value: object
) -> None:
    line = refusal(change(bundle, METADATA, lambda content: content["sfda"].update({field: value})))
    assert METADATA in line and field in line


@pytest.mark.parametrize(
    ("field", "value"), [("spatial_dims", 3), ("image_channels", 2), ("condition_channels", 1)]
)
def test_a_diffusion_network_with_other_conditions_is_refused(
    bundle: Path, field: str, value: int
) -> None:
    change(bundle, INFERENCE, lambda content: content["diffusion_def"].update({field: value}))
    assert f'{INFERENCE}, diffusion_def, field "{field}": found {value}' in refusal(bundle)


# The standard library alone

LIGHT = (
    "SFDALib",
    "SFDALib.methods.registry",
    "SFDALib.bundle.description",
    "SFDALib.bundle.bundle_files",
    "SFDALib.bundle.open_model",
    "SFDALib.jobs.request",
    "SFDALib.jobs.events",
    "SFDALib.jobs.inspect",
    "SFDALib.networks.catalogue",
    "SFDALib.volume.input_spec",
    "SFDALib.volume.reading",
    "SFDALib.volume.formats",
)
HEAVY = ("numpy", "scipy", "skimage", "torch", "monai", "SimpleITK", "matplotlib", "rich", "einops")


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    ).stdout


@pytest.mark.parametrize("module", LIGHT)
def test_what_the_panel_needs_is_the_standard_library_alone(module: str) -> None:
    loaded = python(f"import {module}, sys; print(*sys.modules)").split()
    assert module in loaded
    assert not set(HEAVY) & set(loaded)


def test_a_bundle_is_inspected_with_the_standard_library_alone(tiny_bundle: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from SFDALib.jobs.inspect import inspect, in_words;"
        f"print(in_words(inspect(Path({str(tiny_bundle)!r})))); print(*sys.modules)"
    )
    *words, loaded = python(code).splitlines()
    assert words[0] == "Tiny test model"
    assert not set(HEAVY) & set(loaded.split())


@pytest.mark.parametrize("module", ["SFDALib", "SFDALib.methods.registry"])
def test_importing_is_fast(module: str) -> None:
    """Under 0.3 s: the best of five in processor time, so that a busy machine does not count."""
    code = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
    assert min(float(python(code)) for _ in range(5)) < 0.3


def test_torchs_own_reason_is_told_and_not_its_advice(bundle: Path) -> None:
    """The class that weights do not consist of is named at the end of a text of many lines."""
    torch.save({"weights": torch.ones(2), "path": Path("x")}, bundle / "models/model.pt")
    line = refusal(bundle, load)
    assert "Unsupported global: GLOBAL pathlib" in line and "safe_globals" not in line
