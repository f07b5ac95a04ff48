"""The description of a source model: what it expects, what it returns and what it comes with.

Standard library alone; ``metadata`` reads and writes it as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from SFDALib.bundle.labels import Label
from SFDALib.bundle.parts import (
    AtHome,
    DiffusionDescription,
    EarlyHeadDescription,
    Fingerprint,
    Sliding,
)
from SFDALib.errors import RequestError
from SFDALib.methods import needs
from SFDALib.networks import catalogue
from SFDALib.volume.input_spec import InputSpec

WINDOWS = {
    "dense": "as large as the patch or the image, in fixed steps, borders repeated (MONAI)",
    "even": "as large as the patch, in equal steps, zeros around a smaller image (nnU-Net)",
    "fixed": "as large as the patch, in fixed steps, blended and padded as sliding says (MONAI)",
    "whole": "one as large as the image, with zeros around to what the network needs",
}
ENSEMBLE_LIMIT = 32


@dataclass(frozen=True)
class Description:
    """The description of a source model.

    Args:
        name: shown to users, one line.
        modality: of the source images, in words, such as "T1-weighted MR".
        network: MONAI ``network_def`` of the segmentation network.
        input_spec: orientation, spacing and intensities that the network expects.
        patch_size: sliding-window size along (k,) j, i: two numbers for a 2D network, else three.
        labels: the foreground classes.
        windows: one of ``WINDOWS``: how sliding windows are placed on the image.
        sliding: how windows of the kind "fixed" are blended and padded.
        mirror_axes: the patch's axes along which the model may be mirrored; None for all.
        ensemble: number of sets of weights; their logits are averaged.
        temperature: divides the logits so that the source's confidence is calibrated.
        provenance: how it was trained or imported; plain data.
        licence: one line; the full text is the file LICENSE.
        fingerprint: intensities of each channel in the training images; empty where unknown.
        at_home: what it does on images of its own kind; None where that is not known.
        cautions: sentences about the model that every report repeats.
        postprocessing: what is done to the results, words of ``bundle.postprocessing.STEPS``.
    """

    name: str
    modality: str
    network: Mapping[str, Any]
    input_spec: InputSpec
    patch_size: tuple[int, ...]
    labels: tuple[Label, ...]
    windows: str = "dense"
    sliding: Sliding = field(default_factory=Sliding)
    mirror_axes: tuple[int, ...] | None = None
    ensemble: int = 1
    temperature: float = 1.0
    early_head: EarlyHeadDescription | None = None
    diffusion: DiffusionDescription | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "see LICENSE"
    fingerprint: tuple[Fingerprint, ...] = ()
    at_home: AtHome | None = None
    cautions: tuple[str, ...] = ()
    postprocessing: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """Number of classes K, background included."""
        return len(self.labels) + 1

    @property
    def spatial_dims(self) -> int:
        """Spatial dimensions of the network: 2 or 3."""
        return len(self.patch_size)

    @property
    def out_channels(self) -> int:
        """Channels of the logits: K, or 1 (sigmoid) for a binary model."""
        return self.classes if self.input_spec.regions else self.network["out_channels"]

    @property
    def holds(self) -> frozenset[str]:
        """What methods may need and this model has: names of ``methods.needs``."""
        has = {
            needs.EARLY_HEAD: self.early_head is not None,
            needs.DIFFUSION: self.diffusion is not None,
            needs.BATCH_NORM: catalogue.has_batch_norm(self.network),
            needs.THREE_D: self.spatial_dims == 3,
        }
        return frozenset(name for name, held in has.items() if held)

    def require_early_head(self) -> EarlyHeadDescription:
        """The description of the early head.

        Raises:
            RequestError: the model has none.
        """
        if self.early_head is None:
            raise lacking(self.name, needs.EARLY_HEAD)
        return self.early_head

    def require_diffusion(self) -> DiffusionDescription:
        """The description of the diffusion model.

        Raises:
            RequestError: the model has none.
        """
        if self.diffusion is None:
            raise lacking(self.name, needs.DIFFUSION)
        return self.diffusion


def lacking(name: str, need: str) -> RequestError:
    """The error for a model that has not what is needed.

    Args:
        name: of the model.
        need: a name of ``methods.needs``.
    """
    return RequestError(f'model "{name[:80]}": found no {need}, expected {needs.REMEDIES[need]}')
