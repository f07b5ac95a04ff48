"""The estimate, and what it says of the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from bundles import describe, write_bundle
from panel_bench import choose_method, choose_model, choose_volume


def test_an_estimate_is_told_where_it_is_read(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    fill("none")
    pump(lambda: "about" in panel.ui.estimateLabel.text)
    assert "of memory" in panel.ui.estimateLabel.text
    assert panel.ui.estimateLabel.visible


def test_the_time_of_the_automatic_choice_is_told_as_a_limit(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    fill("auto")
    pump(lambda: "of memory" in panel.ui.estimateLabel.text)
    assert panel.ui.estimateLabel.text.startswith("CPU: at most ")
    choose_method(panel, "adami")
    pump(lambda: "of memory" in panel.ui.estimateLabel.text)
    assert panel.ui.estimateLabel.text.startswith("CPU: about ")


def test_the_estimate_of_several_volumes_is_asked_for_with_the_way_they_are_adapted_to(
    panel: Any,
    asked: list[list[str]],
    pump: Callable[..., None],
    head_file: Path,
    head_bundle: Path,
) -> None:
    import qt
    import slicer
    from slicer_standin import user

    choose_model(panel, head_bundle)
    user.choose(panel.ui.inputModeComboBox, "Volumes")
    for _ in range(2):
        volume = slicer.util.loadVolume(str(head_file))
        panel.ui.inputVolumesSelector.setCheckState(volume, qt.Qt.Checked)
    choose_method(panel, "auto")
    for adapt, title in (("auto", "automatic"), ("each", "one by one"), ("once", "once to all")):
        user.choose(panel.ui.adaptComboBox, f"Adaptation: {title}")
        expected = ["--adapt", adapt]
        pump(lambda pair=expected: any(pair in map(list, pairwise(words)) for words in asked))
        assert asked[-1][asked[-1].index("--adapt") + 1] == adapt


def test_an_image_that_does_not_fit_the_model_is_told_with_the_estimate(
    panel: Any, pump: Callable[..., None], head_file: Path, tmp_path: Path
) -> None:
    """Also where the volume before it had the same size and fitted."""
    import slicer

    from SFDALib.bundle.description import Fingerprint

    known = replace(describe(), fingerprint=(Fingerprint(0.0, 50.0, 100.0, 50.0, 20.0),))
    volumes = [slicer.util.loadVolume(str(head_file)) for _ in range(2)]
    array = slicer.util.arrayFromVolume(volumes[1])
    slicer.util.updateVolumeFromArray(volumes[1], array.max() - array)
    choose_model(panel, write_bundle(tmp_path / "known", known))
    choose_method(panel, "none")
    label = panel.ui.estimateLabel
    choose_volume(panel, volumes[0])
    pump(lambda: "of memory" in label.text)
    assert "inverted" not in label.text
    choose_volume(panel, volumes[1])
    pump(lambda: "of memory" in label.text)
    assert "The image seems to be inverted" in label.text
