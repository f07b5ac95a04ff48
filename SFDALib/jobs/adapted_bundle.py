"""Write adapted weights as a bundle of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from SFDALib.bundle import source, typed_volumes
from SFDALib.jobs.engine import Engine
from SFDALib.methods.outcome import Adapted


def write_adapted_bundle(folder: Path, engine: Engine, adapted: Adapted) -> None:
    """Write a complete bundle of the adapted weights, to be used without adapting again.

    Several sets of weights make an ensemble, which has no early features of its own.
    """
    description = engine.model.description
    alone = adapted.members == 1
    provenance = {
        "method": engine.method.name,
        "options": engine.options.to_dict(),
        "seed": engine.seed,
        "typed_volumes": typed_volumes.to_json(engine.volumes),
        "best_epoch": adapted.best_epoch,
        "stopped": adapted.stopped,
        "source_bundle_sha256": engine.bundle_sha256,
    }
    described = replace(
        description,
        name=f"{description.name}, adapted by {engine.method.title}",
        ensemble=description.ensemble * adapted.members,
        early_head=description.early_head if alone else None,
        provenance={**description.provenance, "adaptation": provenance},
    )
    source.write(
        folder,
        described,
        adapted.weights,
        early_head=source.state(engine.model.early_head) if alone else None,
        diffusion=source.state(engine.model.diffusion),
        documents=engine.model.documents,
    )
