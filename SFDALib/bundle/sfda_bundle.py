"""A bundle as SFDALib writes it: MONAI's layout, and a description under "sfda" in its metadata.

Standard library alone; torch where weights are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from SFDALib.bundle.bundle_files import (
    DIFFUSION,
    EARLY_HEAD,
    INFERENCE,
    METADATA,
    MODEL,
    BundleFiles,
)
from SFDALib.bundle.description import Description
from SFDALib.bundle.metadata import from_json
from SFDALib.errors import RequestError

if TYPE_CHECKING:
    import torch

    from SFDALib.bundle.source import Source

DECISIVE = (METADATA, INFERENCE, MODEL, EARLY_HEAD, DIFFUSION)


@dataclass(frozen=True)
class SfdaBundle:
    """A ``SourceModel`` from the files of a bundle."""

    files: BundleFiles

    @property
    def path(self) -> Path:
        """The folder or .zip."""
        return self.files.path

    def describe(self) -> Description:
        """See ``SourceModel.describe``."""
        return self._description

    @cached_property
    def _description(self) -> Description:
        try:
            return from_json(self.files.json(METADATA), self.files.json(INFERENCE))
        except RequestError as error:
            prefix = "" if str(error).startswith(str(self.path)) else f"{self.path}: "
            raise RequestError(f"{prefix}{error}") from error

    def require_weights(self) -> None:
        """See ``SourceModel.require_weights``."""
        description = self.describe()
        head, diffusion = description.early_head is not None, description.diffusion is not None
        for name, needed in ((MODEL, True), (EARLY_HEAD, head), (DIFFUSION, diffusion)):
            if needed and not self.files.has(name):
                raise RequestError(
                    f"{self.path}: found no {name}, expected it as the metadata name it; the copy"
                    " is incomplete: copy it again"
                )

    def sha256(self) -> str:
        """See ``SourceModel.sha256``."""
        return self.files.sha256(DECISIVE)

    def load(self, device: torch.device, diffusion: bool = True) -> Source:
        """See ``SourceModel.load``."""
        # needs torch, which describing does not
        from SFDALib.bundle.loading import load_bundle  # noqa: PLC0415

        return load_bundle(self.files, self.describe(), device, diffusion)
