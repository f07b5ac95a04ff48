"""Volumes of the scene as the files that a job reads. Nodes are written as they are: a parent
transform is not hardened, and the results get the same one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer

from SFDASegmenterLib.request import Image


def image_of(nodes: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> Image:
    """A volume, or several that are the channels of one image."""
    return Image(
        name=nodes[0].GetName(),
        nodes=tuple(node.GetID() for node in nodes),
        channels=sum(channel_count(node) for node in nodes),
    )


def frames_of(sequence: slicer.vtkMRMLSequenceNode) -> list[Image]:
    """Each volume of a sequence; what is no volume has no channel."""
    return [
        Image(
            name=f"{sequence.GetName()} {sequence.GetNthIndexValue(index)}",
            nodes=(),
            channels=channel_count(sequence.GetNthDataNode(index)),
            frame=(sequence.GetID(), index),
        )
        for index in range(sequence.GetNumberOfDataNodes())
    ]


def channel_count(node: slicer.vtkMRMLNode) -> int:
    """Channels of a volume node: several for a vector volume, 0 without voxels."""
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.GetImageData() is None:
        return 0
    return node.GetImageData().GetNumberOfScalarComponents()


def nodes_of(image: Image) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Its volumes, as long as they are in the scene."""
    if image.frame is None:
        nodes = [slicer.mrmlScene.GetNodeByID(node) for node in image.nodes]
        return [node for node in nodes if node is not None]
    sequence = slicer.mrmlScene.GetNodeByID(image.frame[0])
    return [sequence.GetNthDataNode(image.frame[1])] if sequence is not None else []


def voxels_of(image: Image) -> list[np.ndarray]:
    """Its channels ``(K, J, I)``, as they are in the scene: not to be changed."""
    arrays = [slicer.util.arrayFromVolume(node) for node in nodes_of(image)]
    return [
        channel
        for array in arrays
        for channel in (np.moveaxis(array, -1, 0) if array.ndim > 3 else array[None])
    ]


def write_images(images: Sequence[Image], folder: Path) -> list[Path]:
    """Write every image's volumes into an empty folder; names tell their order.

    Raises:
        OSError: a file could not be written.
    """
    folder.mkdir()
    nodes = [node for image in images for node in nodes_of(image)]
    paths = []
    for number, node in enumerate(nodes, start=1):
        prefix = f"{number:04d}_" if len(nodes) > 1 else ""
        name = re.sub(r"[^\w.-]+", "_", node.GetName() or "volume")[:60]
        paths.append(folder / f"{prefix}{name}.nrrd")
        write_volume(node, paths[-1])
    return paths


def write_volume(node: slicer.vtkMRMLScalarVolumeNode, path: Path) -> None:
    """Write a volume with its geometry; every component of a vector volume is a channel."""
    storage = slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(str(path))
    storage.SetUseCompression(0)  # it is read once, by the same machine
    if not storage.WriteData(node):
        raise OSError(f"{node.GetName()}: could not be written to {path}; check the disk")
