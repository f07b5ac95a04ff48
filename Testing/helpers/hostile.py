"""Hostile and damaged files of every kind that SFDALib reads, and what must not come of them.

Each ``Reader`` pairs a Hypothesis strategy of files with the function that reads them. The files
are valid ones with wrong parts (structure) or wrong bytes (damage). ``outcome`` reads one and tells
whether it was accepted, refused in a line, or a failure: any other exception, code that ran, a
process, a connection, a file outside the folder that was opened, or more time than a limit.

``Testing/Benchmarks/fuzz.py`` reads many thousands; ``test_hostile.py`` some hundreds.
"""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
import os
import pickle
import shutil
import struct
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from bundles import describe, write_bundle
from hypothesis import strategies as st
from PIL import Image

from SFDALib import json_file
from SFDALib.bundle import bundle_files
from SFDALib.bundle.configuration import describe as describe_config
from SFDALib.bundle.open_model import open_model
from SFDALib.errors import OutOfMemoryError, RequestError, shown
from SFDALib.jobs.inspect import in_words
from SFDALib.jobs.inspect import inspect as inspect_bundle
from SFDALib.jobs.request import Job
from SFDALib.networks.build import build_network
from SFDALib.training.manifest import read_manifest
from SFDALib.volume.image_file import read_labels, read_volume

Files = Mapping[str, bytes]
SECONDS = 20.0  # of the processor, for one file of some kilobytes; the slowest takes a tenth
SECRET = b"what lies outside the folder "
SECRET_FILE = "secret.raw"  # beside the folder
RAN = "code-ran"  # what a hostile pickle would make beside the folder


@dataclass(frozen=True)
class Reader:
    """Files by their names in a folder, and how the folder is read."""

    name: str
    files: st.SearchStrategy[Files]
    read: Callable[[Path], object]


# --- What may come of it -------------------------------------------------------------------------

_forbidden: list[str] = []  # seen by the audit hook since it was last emptied
_folder: Path | None = None  # being read; None outside ``outcome``
EVENTS = {
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork"),
    *("socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto"),
    *("shutil.rmtree", "os.remove", "os.rename", "os.chmod", "os.symlink"),
}


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _folder is None:
        return
    if event in EVENTS:
        _forbidden.append(f"{event} {arguments!r:.80}")
    elif event == "open" and isinstance(arguments[0], str | bytes):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith("/etc/") or path.endswith((SECRET_FILE, RAN)):
            _forbidden.append(f"open {path}")


sys.addaudithook(_audit)
sys.dont_write_bytecode = True  # a module that is imported late would be taken for a written file


def outcome(reader: Reader, files: Files, place: Path) -> str:
    """Write the files into a folder below ``place`` and read it.

    Returns:
        "accepted", "refused", or what failed.
    """
    global _folder
    folder = place / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    secret = place / SECRET_FILE
    if not secret.exists():
        secret.write_bytes(SECRET * 1000)
    _forbidden.clear()
    started = time.process_time()
    _folder = folder
    try:
        found = reader.read(folder)
        result = "accepted"
    except (RequestError, OutOfMemoryError) as error:
        found = None
        one_line = shown(str(error)) == str(error) and len(str(error)) < 2000
        result = "refused" if one_line else f"a line that is none: {str(error)!r:.200}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        found = None
        frames = traceback.extract_tb(error.__traceback__)
        at = next((f for f in reversed(frames) if "SFDALib" in f.filename), frames[-1])
        where = f"{Path(at.filename).name}:{at.lineno}"
        result = f"{type(error).__name__} at {where}: {str(error)[:120]}"
    finally:
        _folder = None
    if _forbidden:
        result = f"forbidden: {_forbidden[0]}"
    if (place / RAN).exists():
        (place / RAN).unlink()
        result = "code was executed"
    if time.process_time() - started > SECONDS:
        result = f"took more than {SECONDS:g} s ({result})"
    array = getattr(found, "array", None)
    if isinstance(array, np.ndarray) and SECRET in array.tobytes():
        result = "read a file outside the folder"
    return result


# --- Damage: wrong bytes -------------------------------------------------------------------------


def _damaged(content: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    data = bytearray(content)
    for kind, place, new in changes:
        at = int(place * len(data))
        if kind == "set":
            data[at : at + len(new)] = new
        elif kind == "insert":
            data[at:at] = new
        elif kind == "drop":
            del data[at : at + 8 * max(1, len(new))]
        elif kind == "repeat":
            data[at:at] = data[at : at + 16 * max(1, len(new))]
        else:
            del data[at:]
    return bytes(data)


SHORT = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.sampled_from(
        [
            b"\xff" * 4,
            b"\x00" * 8,
            b"\xff\xff\xff\x7f",
            b"\x00\x00\x00\x80",
            b"-1",
            b"\n",
            b"\r",
            b"1e308",
            b"nan",
            b"999999999999",
            b"%n%s",
            b"../",
            b"\x1b]0;x\x07",
            b"\xed\xa0\x80",
        ]
    ),
)
KINDS = st.sampled_from(["set", "set", "set", "insert", "drop", "repeat", "end"])
# near the beginning, where headers are, as often as anywhere
PLACES = st.one_of(st.floats(0, 1), st.floats(0, 1).map(lambda x: x**4))
CHANGES = st.lists(st.tuples(KINDS, PLACES, SHORT), min_size=1, max_size=5)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    return st.builds(_damaged, st.just(content), CHANGES)


# --- Structure: wrong values ---------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            *("", "$import('os').system('touch x')", "@network", "%x", "_target_", "../../x"),
            *("/etc/passwd", "C:\\x", "a\x00b", "\ud800", "\x1b]0;x\x07", "a\nb", "\u202egpj"),
            *("os.system", "torch.nn.Conv3d", "monai.bundle.run", "x" * 5000, "nan", "1e999"),
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(-3, 40),
    st.floats(),
    st.sampled_from(
        [-1, 0, 2**31, 2**63, 2**64, 10**30, 10**6, 1e308, -1e308, 5e-324, 1e-9, float("nan")]
    ),
)
LEAVES = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none())
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6) | TEXTS, inner, max_size=3)
    ),
    max_leaves=6,
)


def _edited(value: Any, edits: list[tuple[str, list[float], Any]]) -> Any:
    """A JSON value with some of its parts replaced, dropped, or added to."""
    value = copy.deepcopy(value)
    for kind, way, new in edits:
        here, parent, key = value, None, None
        for turn in way:
            if isinstance(here, dict) and here:
                parent, key = here, list(here)[int(turn * len(here)) % len(here)]
            elif isinstance(here, list) and here:
                parent, key = here, int(turn * len(here)) % len(here)
            else:
                break
            here = parent[key]
        if parent is None:
            value = new if kind == "set" else value
        elif kind == "drop":
            del parent[key]
        elif kind == "add" and isinstance(here, dict):
            here[str(new)[:40]] = new
        elif kind == "add" and isinstance(here, list):
            here.append(new)
        else:
            parent[key] = new
    return value


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "drop", "add"]),
        st.lists(st.floats(0, 0.999), min_size=1, max_size=6),
        VALUES,
    ),
    min_size=1,
    max_size=3,
)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def edited(value: Any) -> st.SearchStrategy[bytes]:
    return st.builds(lambda edits: as_json(_edited(value, edits)), EDITS) | damaged(as_json(value))


# --- Images --------------------------------------------------------------------------------------

RAMP = (np.arange(5 * 6 * 7) % 251).astype(np.int16).reshape(5, 6, 7)
SIZES = st.sampled_from(["7", "0", "-1", "1", "2147483647", "4294967297", "99999999999999999999"])
REALS = st.sampled_from(
    ["1", "0", "-1", "nan", "inf", "1e308", "1e-308", "5e-324", "0x10", "", "a"]
)
DATA_FILES = st.sampled_from(
    [
        *("a.raw", "../secret.raw", "/etc/passwd", "/dev/zero", "./../secret.raw", "LOCAL", "."),
        *(
            "LIST\n../secret.raw",
            "LIST 2\n../secret.raw",
            "%d.raw 1 999999999 1",
            "",
            "missing.raw",
        ),
        *("a.raw %03d 1 2 1", "LIST\na.raw", "a.raw\x00.png", "folder/../../secret.raw", "~/x"),
    ]
)
TYPES = st.sampled_from(
    [
        "short",
        "uchar",
        "float",
        "double",
        "block",
        "int8",
        "uint64",
        "string",
        "MET_SHORT",
        "MET_DOUBLE",
        "MET_OTHER",
        "MET_STRING",
        "MET_UCHAR_ARRAY",
        "",
    ]
)
NRRD = {
    "type": (TYPES, "short"),
    "dimension": (SIZES, "3"),
    "space": (st.sampled_from(["left-posterior-superior", "scanner-xyz", "x"]), "LPS"),
    "sizes": (st.lists(SIZES, max_size=5).map(" ".join), "7 6 5"),
    "space directions": (
        st.lists(REALS, min_size=3, max_size=9).map(
            lambda v: " ".join(f"({a},{b},{c})" for a, b, c in zip(v, v[1:], v[2:], strict=False))
        ),
        "(1,0,0) (0,1,0) (0,0,2)",
    ),
    "space origin": (
        st.lists(REALS, min_size=3, max_size=3).map(",".join).map("({})".format),
        "(0,0,0)",
    ),
    "kinds": (
        st.sampled_from(["domain domain domain", "vector domain domain", "x"]),
        "domain domain domain",
    ),
    "endian": (st.sampled_from(["little", "big", "x"]), "little"),
    "encoding": (st.sampled_from(["gzip", "raw", "ascii", "hex", "bzip2", "x"]), "raw"),
    "byte skip": (SIZES, None),
    "line skip": (SIZES, None),
    "spacings": (st.lists(REALS, max_size=3).map(" ".join), None),
    "data file": (DATA_FILES, None),
    "Datafile": (DATA_FILES, None),
    "content": (TEXTS, None),
    "x:=y\nSegment0_Name": (TEXTS, None),
}
META = {
    "ObjectType": (TEXTS, "Image"),
    "NDims": (SIZES, "3"),
    "BinaryData": (st.sampled_from(["True", "False"]), "True"),
    "BinaryDataByteOrderMSB": (st.sampled_from(["True", "False"]), "False"),
    "CompressedData": (st.sampled_from(["True", "False"]), "False"),
    "CompressedDataSize": (SIZES, None),
    "HeaderSize": (SIZES, None),
    "TransformMatrix": (st.lists(REALS, max_size=9).map(" ".join), "1 0 0 0 1 0 0 0 1"),
    "Offset": (st.lists(REALS, max_size=4).map(" ".join), "0 0 0"),
    "ElementSpacing": (st.lists(REALS, max_size=4).map(" ".join), "1 1 2"),
    "DimSize": (st.lists(SIZES, max_size=5).map(" ".join), "7 6 5"),
    "ElementNumberOfChannels": (SIZES, None),
    "ElementType": (TYPES, "MET_SHORT"),
    "Comment": (TEXTS, None),
}


def _fields(
    table: dict[str, Any],
) -> st.SearchStrategy[list[tuple[str, str]]]:
    """A header's fields, up to three of them wrong."""

    def build(wrong: list[str], values: dict[str, str]) -> list[tuple[str, str]]:
        return [
            (name, values[name] if name in wrong else good)
            for name, (_, good) in table.items()
            if name in wrong or good is not None
        ]

    return st.builds(
        build,
        st.lists(st.sampled_from(list(table)), max_size=3, unique=True),
        st.fixed_dictionaries({name: values for name, (values, _) in table.items()}),
    )


def _nrrd(fields: list[tuple[str, str]], end: str, payload: bytes, magic: str) -> bytes:
    lines = [magic, *(f"{name}: {value}" for name, value in fields), "", ""]
    return end.join(lines).encode("utf-8", "surrogatepass") + payload


def _meta(fields: list[tuple[str, str]], data_file: str, payload: bytes) -> bytes:
    lines = [*(f"{name} = {value}" for name, value in fields), f"ElementDataFile = {data_file}", ""]
    return "\n".join(lines).encode("utf-8", "surrogatepass") + payload


PAYLOADS = st.sampled_from(
    [RAMP.tobytes(), gzip.compress(RAMP.tobytes()), b"", b"1 2 3", gzip.compress(bytes(1 << 22))]
)
ENDS = st.sampled_from(["\n", "\n", "\r\n", "\r"])
MAGICS = st.sampled_from(["NRRD0004", "NRRD0005", "NRRD0001", "NRRD9999", "NRRD00.01"])


def encoded(suffix: str, array: np.ndarray = RAMP, compressed: bool = False) -> bytes:
    """An image file's bytes, by ITK."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/x{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(array), path, useCompression=compressed)
        return Path(path).read_bytes()


def _nifti(header: bytes, changes: list[tuple[int, str, float]], rest: bytes) -> bytes:
    data = bytearray(header)
    for at, kind, value in changes:
        try:
            struct.pack_into("<" + kind, data, at, value if kind == "f" else int(value))
        except (struct.error, OverflowError, ValueError):
            struct.pack_into("<H", data, at, 0xFFFF)
    return bytes(data) + rest


NIFTI_FIELDS = st.sampled_from(
    [(0, "i"), (108, "f"), (112, "f"), (116, "f"), (123, "B"), (252, "h"), (254, "h"), (344, "i")]
    + [(348, "i"), (352, "i"), (356, "i"), (70, "h"), (72, "h")]
    + [(40 + 2 * n, "h") for n in range(8)]
    + [(76 + 4 * n, "f") for n in range(8)]
    + [(256 + 4 * n, "f") for n in range(18)]
)
NIFTI_VALUES = st.one_of(
    st.sampled_from([0, -1, 1, 2, 4, 8, 16, 64, 128, 1536, 2048, 32767, -32768, 2**31 - 1])
    | st.sampled_from([1e308, float("nan"), float("inf"), 1e-30, 3e38]),
    st.integers(-300, 3000),
)


def nifti(content: bytes) -> st.SearchStrategy[bytes]:
    change = st.builds(lambda field, value: (*field, value), NIFTI_FIELDS, NIFTI_VALUES)
    structured = st.builds(
        _nifti,
        st.just(content[:360]),
        st.lists(change, min_size=1, max_size=3),
        st.just(content[360:]),
    )
    return structured | damaged(content)


def one_file(name: str, contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[Files]:
    return contents.map(lambda content: {name: content, "a.raw": RAMP.tobytes()})


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray((np.arange(30 * 20) % 256).astype(np.uint8).reshape(20, 30)).save(stream, kind)
    return stream.getvalue()


def dicom() -> bytes:
    image = sitk.GetImageFromArray(RAMP[:1])
    image.SetMetaData("0020|000e", "1.2.3")
    with tempfile.TemporaryDirectory() as folder:
        sitk.WriteImage(image, f"{folder}/x.dcm")
        return Path(f"{folder}/x.dcm").read_bytes()


# --- Weights -------------------------------------------------------------------------------------


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, call: str) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        command = f"open({str(Path('..') / RAN)!r}, 'w')"
        return {
            "exec": (exec, (command,)),
            "system": (os.system, (f"touch ../{RAN}",)),
            "bytearray": (bytearray, (10**13,)),
            "import": (__import__, ("antigravity",)),
        }[self.call]


def saved(value: Any, legacy: bool, protocol: int) -> bytes:
    stream = io.BytesIO()
    try:
        torch.save(
            value,
            stream,
            _use_new_zipfile_serialization=not legacy,
            pickle_protocol=protocol,
        )
    except Exception:  # a value that cannot be saved is no file
        return pickle.dumps(None)
    return stream.getvalue()


def tensors(good: torch.Tensor) -> st.SearchStrategy[Any]:
    wrong = [
        good.to_sparse() if good.ndim else good,
        good.double() if good.is_floating_point() else good,
        good.half() if good.is_floating_point() else good,
        good[None],
        torch.zeros(1).expand(1 << 40),
        torch.zeros(1).expand(good.shape),
        torch.full(good.shape, float("nan")),
        torch.zeros(good.shape, dtype=torch.complex64),
        torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8),
        torch.empty(good.shape, device="meta"),
        torch.nn.Parameter(good) if good.is_floating_point() else good,
        torch.zeros(0),
        *(Evil(call) for call in ("exec", "system", "bytearray", "import")),
    ]
    return st.sampled_from(wrong) | VALUES


def weights(good: Mapping[str, torch.Tensor]) -> st.SearchStrategy[bytes]:
    """State dicts with a wrong entry, and damaged files, in torch's new and old format."""

    def build(name: str, value: Any, drop: bool, legacy: bool, protocol: int) -> bytes:
        state = dict(good)
        if drop:
            del state[name]
        else:
            state[name] = value
        return saved(state, legacy, protocol)

    names = list(good)
    structured = st.builds(
        build,
        st.sampled_from(names),
        tensors(good[names[0]]),
        st.sampled_from([False] * 9 + [True]),
        st.booleans(),
        st.sampled_from([2, 2, 2, 4]),
    )
    whole = VALUES.map(lambda value: saved(value, False, 2))
    new, old = saved(dict(good), False, 2), saved(dict(good), True, 2)
    plain = pickle.dumps({"a": Evil("exec")})
    return st.one_of(
        structured, whole, damaged(new), damaged(old), damaged(old[:3000]), damaged(plain)
    )


# --- The readers ---------------------------------------------------------------------------------


def _zipped(files: Files, more: list[tuple[str, bytes]], packed: bool) -> bytes:
    stream = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in [*files.items(), *more]:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            if content.startswith(b"->"):  # a symbolic link
                entry.external_attr = 0o120777 << 16
                content = content[2:]
            archive.writestr(entry, content)
    return stream.getvalue()


def _folder_files(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _read_description(folder: Path) -> None:
    in_words(inspect_bundle(folder))
    description = open_model(folder).describe()
    build_network(description.network)
    if description.diffusion:
        build_network(description.diffusion.network)


def _load(path: Path) -> None:
    open_model(path).load(torch.device("cpu"), diffusion=False)


def _rows(rows: list[list[str]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    return stream.getvalue().encode("utf-8", "surrogatepass")


def readers(place: Path) -> dict[str, Reader]:
    """All of them, by name; the valid files that they start from are made below ``place``."""
    bundle = write_bundle(place / "bundle", describe())
    shutil.rmtree(bundle / "docs")
    good = _folder_files(bundle)
    dynunet = {
        "_target_": "monai.networks.nets.DynUNet",
        **{"spatial_dims": 2, "in_channels": 1, "out_channels": 1},
        **{"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]},
        **{"filters": [4, 8, 16], "norm_name": "INSTANCE", "res_block": True},
    }
    metadata, inference = (
        json.loads(good[name]) for name in (bundle_files.METADATA, bundle_files.INFERENCE)
    )
    other = inference | {"network_def": dynunet}
    present = {name: b"" for name in good if name.endswith(".pt")}
    descriptions = st.builds(
        lambda first, second: {
            **present,
            bundle_files.METADATA: first,
            bundle_files.INFERENCE: second,
        },
        st.just(as_json(metadata)) | edited(metadata),
        st.just(as_json(inference)) | edited(inference) | edited(other),
    )
    state = open_model(bundle).load(torch.device("cpu")).network.state_dict()
    loads = weights(state).map(lambda content: {**good, bundle_files.MODEL: content})
    names = st.sampled_from(
        [
            "../evil",
            "/etc/evil",
            "a/../../b",
            "C:evil",
            "..\\evil",
            bundle_files.METADATA,
            "a\x00b",
            "x/",
        ]
    )
    contents = st.sampled_from([b"", b"->/etc/passwd", b"{}", bytes(1 << 21)])
    small = {k: v for k, v in good.items() if "diffusion" not in k}
    archives = st.builds(
        _zipped,
        st.sampled_from([good, small]),
        st.lists(st.tuples(names, contents), max_size=2),
        st.booleans(),
    )
    stored, deflated = _zipped(good, [], False), _zipped(good, [], True)
    packed = st.one_of(archives, damaged(stored), damaged(deflated))
    # the end of an archive is its table of contents
    packed |= st.builds(
        lambda changes: deflated[:-900] + _damaged(deflated[-900:], changes), CHANGES
    )
    job = {
        **{"bundle": "bundle", "input": ["a.nrrd", "b.nrrd"], "method": "heal", "output": "out"},
        **{"options": {"samples": 3, "tau1": 0.2}, "device": "cpu", "seed": 1},
    }
    config = {"name": "x", "network": inference["network_def"]} | {
        key: metadata["sfda"][key]
        for key in ("modality", "labels", "orientation", "spacing", "normalisation", "patch_size")
    }
    rows = [
        ["image", "label", "split"],
        ["a.raw", "a.raw", "train"],
        ["a.raw;a.raw", "a.raw", "val"],
    ]
    cell = TEXTS | st.sampled_from(["train", "val", "a.raw", "../secret.raw", "a.raw;a.raw"])
    manifests = st.builds(
        lambda edits: _rows(
            [[str(c) for c in row] for row in _edited(rows, edits) if isinstance(row, list)]
        ),
        st.lists(
            st.tuples(
                st.sampled_from(["set", "drop"]),
                st.lists(st.floats(0, 0.999), min_size=2, max_size=2),
                cell,
            ),
            min_size=1,
            max_size=3,
        ),
    ) | damaged(_rows(rows))
    nrrd = st.builds(_nrrd, _fields(NRRD), ENDS, PAYLOADS, MAGICS)
    nrrd |= damaged(encoded(".nrrd")) | damaged(encoded(".nrrd", compressed=True))
    detached = st.builds(
        lambda fields, where, end: _nrrd([*fields, ("data file", where)], end, b"", "NRRD0004"),
        _fields(NRRD),
        DATA_FILES,
        ENDS,
    )
    meta = st.builds(_meta, _fields(META), st.just("LOCAL") | DATA_FILES, PAYLOADS)
    meta |= damaged(encoded(".mha")) | damaged(encoded(".mha", compressed=True))
    meta_detached = st.builds(_meta, _fields(META), DATA_FILES, st.just(b""))
    plain, floats = encoded(".nii"), encoded(".nii", RAMP.astype(np.float32))
    images = {
        "x.nrrd": nrrd,
        "x.nhdr": detached,
        "x.mha": meta,
        "x.mhd": meta_detached,
        "x.nii": nifti(plain) | nifti(floats),
        "x.nii.gz": nifti(plain).map(gzip.compress) | damaged(gzip.compress(plain)),
        "x.png": damaged(picture("PNG")),
        "x.jpg": damaged(picture("JPEG")),
    }
    labels = nrrd | damaged(encoded(".nrrd", (RAMP > 100).astype(np.uint8)))

    def at(name: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
        return lambda folder: read(folder / name)

    series = damaged(dicom()).map(lambda content: {"a.dcm": content})
    every = [
        Reader("bundle description", descriptions, _read_description),
        Reader("bundle weights", loads, _load),
        Reader("bundle zip", one_file("x.zip", packed), at("x.zip", _load)),
        Reader(
            "job",
            one_file("x.json", edited(job)),
            at("x.json", lambda p: Job.from_file(p).checked()),
        ),
        Reader(
            "training configuration",
            one_file("x.json", edited(config)),
            at("x.json", lambda p: describe_config(json_file.read_object(p))),
        ),
        Reader("manifest", one_file("x.csv", manifests), at("x.csv", read_manifest)),
        Reader("labels", one_file("x.nrrd", labels), at("x.nrrd", read_labels)),
        *(Reader(f"image {n[1:]}", one_file(n, c), at(n, read_volume)) for n, c in images.items()),
        Reader("image DICOM", series, read_volume),
    ]
    return {reader.name: reader for reader in every}
