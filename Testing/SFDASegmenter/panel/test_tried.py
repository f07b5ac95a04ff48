"""What else the automatic choice tried on the images of a cohort: placed when it is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from panel_bench import choose_method, choose_model, settle


@pytest.fixture
def cohort(panel: Any, head_bundle: Path, head_file: Path, run: Callable[[], Any]) -> Any:
    """The run of the automatic choice on each of two volumes, which has ended."""
    import qt
    import slicer
    from slicer_standin import user

    choose_model(panel, head_bundle)
    user.choose(panel.ui.inputModeComboBox, "Volumes")
    for _ in range(2):
        volume = slicer.util.loadVolume(str(head_file))
        panel.ui.inputVolumesSelector.setCheckState(volume, qt.Qt.Checked)
    choose_method(panel, "auto")
    ended = run()
    assert ended.state.value == "done", ended.message
    return ended


def others(results: Any) -> list[str]:
    """The methods that were tried beside the one that is delivered, by the report."""
    rows = results.report["auto"]["tried"]
    return [row["title"] for row in rows if row["folder"] not in (None, ".")]


def methods_in_scene(results: Any) -> list[str]:
    return [one.node.GetAttribute("SFDA.Method") for one in results.compared]


def test_of_a_cohort_the_other_results_come_when_all_are_asked_for(
    cohort: Any, panel: Any, pump: Callable[..., None]
) -> None:
    import slicer
    from panel_bench import shown_in
    from SFDASegmenterLib.scene.results import results_in_scene
    from slicer_standin import user

    ui, first, second = panel.ui, *cohort.results
    assert others(first) and others(second)
    assert [one.node for one in results_in_scene()] == [first.node, second.node], "no others yet"
    assert ui.resultRadio.checked and ui.allRadio.visible
    before = slicer.mrmlScene.GetNumberOfNodes()
    user.click(ui.allRadio)
    pump(lambda: panel.parameters.shown == "all", 30)
    settle()
    assert slicer.mrmlScene.GetNumberOfNodes() > before
    assert methods_in_scene(first) == [first.node.GetAttribute("SFDA.Method"), *others(first)]
    assert all(one.input is first.input for one in first.compared)
    for number, one in enumerate(first.compared, start=1):
        assert shown_in(one.own, f"SFDAMethod{number}")
    rows = {row["title"]: row for row in first.report["auto"]["tried"]}
    for one in first.compared[1:]:  # judged with the others known, as for a single volume
        assert one.report["trust"] == rows[one.report["title"]]["trust"]
    assert len(second.compared) == 1, "those of another image stay where they are"
    user.choose(ui.resultSelector, second.node.GetName())
    settle()
    assert ui.bothRadio.checked and ui.allRadio.visible
    user.click(ui.allRadio)
    pump(lambda: len(second.compared) == 1 + len(others(second)) and ui.allRadio.checked, 30)
    assert not panel.ui.messageFrame.visible


def test_another_view_ends_the_loading_and_leaves_nothing(
    cohort: Any, panel: Any, pump: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer
    from SFDASegmenterLib.scene import tried
    from slicer_standin import user

    place = tried.place

    def without_end(results: Any) -> Iterator[None]:
        """Places a node, and is still at it however long the test takes."""
        steps = place(results)
        try:
            next(steps)
            while True:
                yield
        finally:
            steps.close()

    monkeypatch.setattr(tried, "place", without_end)
    (first, _second), before = cohort.results, slicer.mrmlScene.GetNumberOfNodes()
    user.click(panel.ui.allRadio)
    pump(lambda: slicer.mrmlScene.GetNumberOfNodes() > before, 30)
    assert len(first.compared) == 2
    user.click(panel.ui.sourceRadio)
    settle()
    assert panel.parameters.shown == "source"
    assert len(first.compared) == 1
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_others_that_cannot_be_read_are_told_and_their_files_gone_they_are_not_offered(
    cohort: Any,
    panel: Any,
    pump: Callable[..., None],
    expected_errors: Callable[[], list[str]],
) -> None:
    import slicer
    from slicer_standin import user

    (first, second), before = cohort.results, slicer.mrmlScene.GetNumberOfNodes()
    for file in (first.folder / "tried").glob("*/entropy.nrrd"):
        file.unlink()
    user.click(panel.ui.allRadio)
    pump(lambda: panel.ui.messageFrame.visible, 30)
    assert "What else was tried could not be loaded" in panel.ui.messageLabel.text
    assert expected_errors()
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert panel.ui.resultRadio.checked
    shutil.rmtree(second.folder)
    user.choose(panel.ui.resultSelector, second.node.GetName())
    settle()
    assert not panel.ui.allRadio.visible
