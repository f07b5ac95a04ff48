"""The panel as a whole: opening, closing, reloading, and what its button says."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from panel_bench import choose_model, choose_volume
from paths import ROOT


def test_the_panel_opens_without_torch_in_the_application() -> None:
    script = (
        "import sys\n"
        "import slicer_standin\n"
        "why = slicer_standin.missing()\n"
        "if why: print('SKIP', why); sys.exit()\n"
        "slicer_standin.start()\n"
        "from slicer_standin import modules\n"
        f"modules.load_scripted_module({str(ROOT / 'SFDASegmenter' / 'SFDASegmenter.py')!r})\n"
        "modules.widget('SFDASegmenter').enter()\n"
        "heavy = {'torch', 'monai', 'skimage', 'SimpleITK', 'matplotlib'} & set(sys.modules)\n"
        "print('heavy', sorted(heavy))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT / "Testing",
        env={**os.environ, "PYTHONPATH": str(ROOT / "Testing" / "helpers")},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    if answer.stdout.startswith("SKIP"):
        pytest.skip(answer.stdout[5:].strip())
    assert "heavy []" in answer.stdout, answer.stdout + answer.stderr


def test_the_button_says_what_is_missing_until_everything_is_chosen(
    panel: Any, head_bundle: Path, head_file: Path
) -> None:
    import slicer

    button = panel.ui.applyButton
    assert (button.enabled, button.toolTip) == (False, "Choose a source model.")
    choose_model(panel, head_bundle)
    assert (button.enabled, button.toolTip) == (False, "Choose a volume.")
    choose_volume(panel, slicer.util.loadVolume(str(head_file)))
    assert button.enabled


def test_several_volumes_are_not_compared(panel: Any, head_bundle: Path, head_file: Path) -> None:
    import qt
    import slicer
    from slicer_standin import user

    volumes = [slicer.util.loadVolume(str(head_file)) for _ in range(2)]
    choose_model(panel, head_bundle)
    user.choose(panel.ui.inputModeComboBox, "Volumes")
    for volume in volumes:
        panel.ui.inputVolumesSelector.setCheckState(volume, qt.Qt.Checked)
    user.unfold(panel.ui.advancedSection)
    user.click(panel.ui.compareCheckBox)
    assert "choose one method" in panel.ui.applyButton.toolTip


def test_a_closed_panel_leaves_nothing_behind_on_the_parameter_node(
    slicer_app: Any, scene: Any, recorded_jobs: Path
) -> None:
    """The node stays in the scene: what still observed it would be called after its collection."""
    import slicer
    from slicer_standin import modules

    for _ in range(2):
        widget = modules.select("SFDASegmenter")
        widget.exit()
        modules.close(widget)
        del widget
        slicer.app.processEvents()
        gc.collect()
        node = slicer.mrmlScene.GetSingletonNode("SFDASegmenter", "vtkMRMLScriptedModuleNode")
        assert not node.HasObserver("ModifiedEvent")
        node.Modified()


def test_a_module_reloaded_in_sight_is_entered(slicer_app: Any, scene: Any) -> None:
    """The application enters a module only when the user changes to it."""
    import qt
    import slicer

    import SFDASegmenter as module

    class Entered(slicer.qMRMLWidget):
        isEntered = True

    parent = Entered()
    parent.setLayout(qt.QVBoxLayout())
    widget = module.SFDASegmenterWidget(parent)
    widget.setup()
    assert widget.panel.parameters is not None
    assert not widget.panel.ui.inputSequenceSelector.visible
    widget.exit()
    widget.cleanup()
