"""Measure the sizes and shapes of a model's structures on label maps, such as nnU-Net's labelsTr.

For models that come without sizes. No image is needed: a volume does not depend on the modality.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from SFDALib.bundle.description import Description, Label
from SFDALib.bundle.importers.common import checked
from SFDALib.errors import RequestError
from SFDALib.progress import Progress
from SFDALib.training.manifest import relabelled
from SFDALib.training.statistics import measured
from SFDALib.volume.formats import FORMATS, SUFFIXES
from SFDALib.volume.geometry import IntTriple, float_triple, int_triple
from SFDALib.volume.image_file import read_labels
from SFDALib.volume.orientation import axis_map

ADVISABLE = 10  # volumes of a structure; the ranges of fewer are narrow


@dataclass(frozen=True)
class LabelFolder:
    """A folder of label maps.

    Args:
        path: of the folder; what lies in folders within it is ignored.
        relabel: pairs of a value in the files and the model's label that it stands for.
    """

    path: Path
    relabel: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class PackedMap:
    """A label map in little memory: its labels and a voxel around them, compressed.

    Args:
        packed: the voxels of this part.
        part: its shape (k, j, i), the axes in the model's order.
        spacing_kji: mm along them.
        shape: of the whole map.
        values: all labels in it.
    """

    packed: bytes
    part: IntTriple
    spacing_kji: tuple[float, float, float]
    shape: IntTriple
    values: frozenset[int]

    @property
    def labels(self) -> np.ndarray:
        """Of the shape ``part``, uint8."""
        return np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(self.part)

    @property
    def is_volume(self) -> bool:
        """Whether it is more than one voxel thick."""
        return min(self.shape) > 1


def with_sizes(
    description: Description, folder: LabelFolder, progress: Progress
) -> tuple[Description, tuple[str, ...]]:
    """The description with the sizes of every structure that the label maps show.

    They replace the sizes that the description has. Label maps that are one slice give areas, to 2D
    models. The provenance says how many label maps there were and how many show each structure.

    Args:
        description: of the model.
        folder: the label maps, each on any grid.
        progress: informed of every file that is read.

    Returns:
        The description, and notes on what is missing.

    Raises:
        RequestError: no folder or no label map in it, a file that is not a label map or has a label
            that the model has not, or label maps that show nothing that can be measured.
    """
    maps = _read(folder, description, progress)
    volumes = [one for one in maps if one.is_volume]
    slices = [one for one in maps if one.shape[0] == 1 and description.input_spec.is_2d]
    shown = {
        label.name: sum(label.value in one.values for one in (*volumes, *slices))
        for label in description.labels
    }
    if not any(shown.values()):
        kind = "volumes" if description.spatial_dims == 3 else "volumes or slices"
        raise RequestError(
            f"{folder.path}: found no structure of the model ({_known(description)}) in"
            f" {len(maps)} label map(s), expected {kind} that show one; choose another folder, or"
            " say what the labels mean with --relabel"
        )
    labels = _sized(description, volumes, slices)
    origin = {"label_maps": {"cases": len(maps), "showing": shown}}
    described = replace(description, labels=labels, provenance={**description.provenance, **origin})
    return checked(described, str(folder.path)), _notes(maps, shown)


def _sized(
    description: Description, volumes: Sequence[PackedMap], slices: Sequence[PackedMap]
) -> tuple[Label, ...]:
    """The labels with the sizes and shapes of the volumes, and the areas of these and the slices.

    What a label had stays where no volume shows it.
    """
    bare = [replace(label, size_ml=None, shape=None) for label in description.labels]
    in_volumes = measured(bare, volumes, description.input_spec.is_2d)
    sized = tuple(
        old if found.size_ml is None else found
        for old, found in zip(description.labels, in_volumes, strict=True)
    )
    if not slices:
        return sized
    everywhere = measured(bare, (*volumes, *slices), slices=True)
    return tuple(
        replace(label, slice_area_mm2=found.slice_area_mm2 or label.slice_area_mm2)
        for label, found in zip(sized, everywhere, strict=True)
    )


def _read(folder: LabelFolder, description: Description, progress: Progress) -> list[PackedMap]:
    """Every label map of the folder."""
    path = folder.path
    if not path.is_dir():
        raise RequestError(f"{path}: found no folder, expected one of label maps; check the path")
    files = sorted(
        file
        for file in path.iterdir()
        if file.name.lower().endswith(SUFFIXES) and not file.name.startswith(".")
    )
    if not files:
        raise RequestError(
            f"{path}: found no file of a label map, expected some such as nnU-Net's labelsTr has"
            f" ({FORMATS.partition(', a DICOM')[0]}); choose the folder that holds them"
        )
    maps = []
    for number, file in enumerate(files, start=1):
        maps.append(_packed(file, folder.relabel, description))
        progress("label maps", number, len(files))
    return maps


def _packed(file: Path, relabel: Sequence[tuple[int, int]], description: Description) -> PackedMap:
    """A label map in the model's orientation and with its own spacing."""
    volume = read_labels(file)
    labels = relabelled(volume.array[0], relabel)
    highest = int(labels.max())
    if highest >= description.classes:
        raise RequestError(
            f"{file}: found the label {highest}, expected 0 and those of the model"
            f" ({_known(description)}); say what it means with --relabel, such as"
            f" {highest}=1, or {highest}=0 to ignore it"
        )
    spec = description.input_spec
    axes = axis_map(volume.geometry, spec.orientation, spec.axes)
    labels = axes.apply(labels)
    spacing = float_triple(axes.permuted(volume.geometry.spacing_kji))
    part = _around(labels)
    return PackedMap(
        packed=zlib.compress(part.tobytes(), level=1),
        part=int_triple(part.shape),
        spacing_kji=spacing,
        shape=int_triple(labels.shape),
        values=frozenset(np.unique(part).tolist()),
    )


def _around(labels: np.ndarray) -> np.ndarray:
    """The part that is not 0, with a voxel on every side where the map has one."""
    boxes = ndimage.find_objects((labels > 0).astype(np.uint8))
    if not boxes:
        return labels[:1, :1, :1]
    return labels[tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in boxes[0])]


def _known(description: Description) -> str:
    return ", ".join(f"{label.value} {label.name}" for label in description.labels)


def _notes(maps: Sequence[PackedMap], shown: Mapping[str, int]) -> tuple[str, ...]:
    """What the label maps lack, in sentences."""
    flat = sum(not one.is_volume for one in maps)
    absent = [name for name, count in shown.items() if not count]
    few = [f"{name} {count}" for name, count in shown.items() if 0 < count < ADVISABLE]
    found = []
    if flat:
        found.append(
            f"{flat} of {len(maps)} label maps are single slices, which give areas to 2D models and"
            " no volumes (pixels of PNG and JPEG count as 1 mm wide)."
        )
    if absent:
        found.append(f"No label map shows {', '.join(absent)}: no size of it was measured.")
    if few:
        found.append(
            f"Few label maps ({', '.join(few)}) give narrow ranges: {ADVISABLE} or more of each"
            " structure are advisable."
        )
    return tuple(found)
