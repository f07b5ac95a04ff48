"""Methods for a single image segment a brighter image better than the source does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from phantoms import Phantom, write

from SFDALib.__main__ import main
from SFDALib.evaluation.metrics import dice
from SFDALib.jobs.inspect import inspect
from SFDALib.volume.image_file import read_labels, read_volume


@pytest.mark.parametrize("method", ["dg-tta", "intent"])
def test_a_brighter_image_is_segmented_better(
    method: str, phantom: Callable[..., Phantom], tmp_path: Path
) -> None:
    """A gamma of 0.4: the source finds a Dice of about 0.6, and nobody told it of the labels."""
    made = phantom()
    volume = read_volume([made.image])
    brighter = 300 * (np.clip(volume.array, 0, 300) / 300) ** 0.4
    given = write(tmp_path / "bright.nrrd", brighter, volume.geometry)
    files = ["--bundle", made.bundle, "--input", given, "--output", tmp_path / "out"]
    words = ["--method", method, "--device", "cpu", "--gate", "off"]
    if method == "dg-tta":
        words += ["--option", "epochs=2", "--option", "ensemble=2"]
    assert main(["run", *map(str, files), *words]) == 0
    reference = read_labels(made.labels).array[0] > 0
    before, after = (
        dice(read_labels(tmp_path / "out" / f"{name}.seg.nrrd").array[0] > 0, reference)
        for name in ("source_segmentation", "adapted_segmentation")
    )
    assert after > before + 0.1, (before, after)
    bundle = tmp_path / "out/adapted_bundle"
    assert bundle.exists() == (method == "dg-tta")
    if bundle.exists():  # two sets of weights, without a head on features that they do not share
        facts = inspect(bundle)
        assert facts["ensemble"] == 2 and not facts["early_head"]
