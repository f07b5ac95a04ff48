"""Open a source model: an SFDA bundle, or a model of any kind that an importer recognises.

An importer is a function that gets a ``Candidate`` and returns the ``SourceModel``, or None if the
path is of another kind. To add one: a file in ``importers`` and a line in ``IMPORTERS``. Standard
library alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from SFDALib.bundle.importers import monai_bundle, nnunet, plain_weights
from SFDALib.bundle.sfda_bundle import SfdaBundle
from SFDALib.bundle.source_model import Candidate, ImportOptions, SourceModel

IMPORTERS: list[Callable[[Candidate], SourceModel | None]] = [
    plain_weights.recognise,
    nnunet.recognise,
    monai_bundle.recognise,
]


def open_model(path: Path, options: ImportOptions | None = None) -> SourceModel:
    """The source model at this path; its weights are not read.

    Raises:
        RequestError: there is none.
    """
    candidate = Candidate(Path(path), options or ImportOptions())
    return recognised(candidate) or SfdaBundle(candidate.files)


def recognised(candidate: Candidate) -> SourceModel | None:
    """The model that the first fitting importer reads; None for an SFDA bundle.

    Raises:
        RequestError: there is neither.
    """
    found = (importer(candidate) for importer in IMPORTERS)
    return next((model for model in found if model is not None), None)
