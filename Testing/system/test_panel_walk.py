"""A user who does anything at any time: nothing may fail, and nothing may be left."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from panel_bench import choose_model, set_option, settle

from SFDALib.methods import registry

METHODS = ("none", "heal", "adami")  # whose results were recorded
TEXTS = ("7", "1e-4", "0.5", "2", "much", "", "none")
ON_RESULTS = (
    *("resultRadio", "sourceRadio", "bothRadio", "allRadio", "surfaceCheckBox", "whyButton"),
    *("previousPageButton", "nextPageButton", "plotsButton", "reportButton", "logButton"),
)
SECTIONS = ("inputSection", "advancedSection", "resultsSection")
LAYOUTS = (3, 4, 6)  # four-up, one-up 3D, one-up red: those that fit the window
WALKS, STEPS = 6, 40
SECONDS = 60  # that a job may take here


class Walk:
    """The panel in its window, and what a user may do; a number picks among what there is then.

    Args:
        bundle: a source model.
        image: an image that it segments.
        folder: for scenes.
        processes: all that are started.
    """

    def __init__(self, bundle: Path, image: Path, folder: Path, processes: list[Any]) -> None:
        import slicer
        from slicer_standin import modules

        self._bundle, self._image, self._folder = bundle, image, folder
        self._processes = processes
        slicer.mrmlScene.Clear()
        settle()
        slicer.util.loadVolume(str(image))
        self.panel = modules.select("SFDASegmenter").panel
        choose_model(self.panel, bundle)

    @property
    def ui(self) -> Any:
        return self.panel.ui

    def end(self) -> None:
        """Close the module and the scene, and look at what is left."""
        import slicer
        from slicer_standin import modules

        node = self.panel.logic.getParameterNode().parameterNode
        modules.close(modules.widget("SFDASegmenter"))
        del self.panel
        settle()
        gc.collect()
        assert not node.HasObserver("ModifiedEvent"), "the parameter node is still observed"
        assert not list(Path(slicer.app.temporaryPath).glob("SFDA-*")), "files were left"
        assert all(process.poll() is not None for process in self._processes)
        slicer.mrmlScene.Clear()
        self._processes.clear()

    def check(self) -> None:
        """What is true all the time."""
        from slicer_standin import application, dialect, error_log

        assert dialect.slot_errors == []
        assert error_log.errors == []
        assert application.window().window.width == 1280
        running, button = self.panel.logic.running, self.ui.applyButton
        assert button.text == ("Cancel" if running else "Adapt && Segment")
        assert button.enabled or running or button.toolTip
        alive = [process for process in self._processes if process.poll() is None]
        assert len(alive) <= 3, "a run, and two questions at most"

    # --- Choosing --------------------------------------------------------------------------------

    def load_a_volume(self, pick: int) -> None:
        import slicer

        slicer.util.loadVolume(str(self._image))
        settle()

    def choose_a_volume(self, pick: int) -> None:
        self._choose(self.ui.inputVolumeSelector, pick)

    def choose_one_or_several_volumes(self, pick: int) -> None:
        self._choose(self.ui.inputModeComboBox, pick if pick % 4 == 0 else 2)  # mostly one

    def write_a_model(self, pick: int) -> None:
        if not self.panel.logic.running:
            choose_model(self.panel, self._bundle if pick % 4 else self._bundle / "models")

    def choose_a_method(self, pick: int) -> None:
        from slicer_standin import user

        if not self.panel.logic.running:
            user.unfold(self.ui.inputSection)
            method = registry.find(METHODS[pick % len(METHODS)])
            user.choose(self.ui.methodComboBox, method.title)

    def write_an_option(self, pick: int) -> None:
        if self.panel.logic.running:
            return
        options = registry.find(self.panel.request().method).options
        option = options[pick % len(options)]
        words = option.choices or TEXTS
        set_option(self.panel, option.name, words[pick % len(words)])

    def click_in_advanced(self, pick: int) -> None:
        from slicer_standin import user

        names = ("compareCheckBox", "gateCheckBox", "resetOptionsButton")
        if not self.panel.logic.running:
            user.unfold(self.ui.advancedSection)
            self._click(getattr(self.ui, names[pick % len(names)]))

    def fold_or_unfold(self, pick: int) -> None:
        import qt

        section = getattr(self.ui, SECTIONS[pick % len(SECTIONS)])
        self._click(section.findChild(qt.QToolButton, "qt_header"))

    # --- Running ---------------------------------------------------------------------------------

    def press_the_button(self, pick: int) -> None:
        """Run or cancel, and go on after a while, whatever it does by then."""
        self._click(self.ui.applyButton)
        for _ in range(pick % 12):
            settle()

    def run_to_the_end(self, pick: int) -> None:
        from slicer_standin import user

        self._wait()
        self.choose_a_method(pick)
        user.unfold(self.ui.advancedSection)
        self._click(self.ui.resetOptionsButton)
        if self.ui.compareCheckBox.checked != (pick % 5 == 0):
            self._click(self.ui.compareCheckBox)
        self._click(self.ui.applyButton)
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + SECONDS
        while self.panel.logic.running:
            settle()
            time.sleep(0.005)
            assert time.monotonic() < end, "the run never ended"

    # --- Looking at results ----------------------------------------------------------------------

    def click_on_a_result(self, pick: int) -> None:
        self._click(getattr(self.ui, ON_RESULTS[pick % len(ON_RESULTS)]))

    def choose_a_run(self, pick: int) -> None:
        self._choose(self.ui.resultSelector, pick)

    def change_a_map(self, pick: int) -> None:
        from slicer_standin import user

        rows = list(self.panel.results.maps.rows.values())
        if not rows or not self.ui.mapsWidget.isVisible():
            return
        row = rows[pick % len(rows)]
        self._click(row.box)
        if row.button is not None:
            self._click(row.button)
        user.write(row.opacity, ("0", "0.3", "1")[pick % 3])

    def browse_the_samples(self, pick: int) -> None:
        from slicer_standin import user

        if self.ui.sampleSlider.isVisible():
            user.key(self.ui.sampleSlider, ("Up", "Down")[pick % 2])

    def choose_another_layout(self, pick: int) -> None:
        import slicer

        slicer.app.layoutManager().setLayout(LAYOUTS[pick % len(LAYOUTS)])
        settle()

    # --- What happens around the panel -----------------------------------------------------------

    def delete_the_shown_result(self, pick: int) -> None:
        import slicer

        if self.panel.results.results is not None:
            slicer.mrmlScene.RemoveNode(self.panel.results.results.node)
            settle()

    def delete_a_volume(self, pick: int) -> None:
        """The image, or a map of a run."""
        import slicer

        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if volumes:
            slicer.mrmlScene.RemoveNode(volumes[pick % len(volumes)])
            settle()

    def close_the_scene(self, pick: int) -> None:
        import slicer

        slicer.mrmlScene.Clear()
        settle()
        self.load_a_volume(pick)
        self.write_a_model(1)

    def save_and_open_the_scene(self, pick: int) -> None:
        import slicer

        path = self._folder / "walk.mrb"
        assert slicer.util.saveScene(str(path))
        slicer.mrmlScene.Clear()
        settle()
        slicer.util.loadScene(str(path))
        settle()

    def leave_and_enter(self, pick: int) -> None:
        self.panel.leave()
        settle()
        self.panel.enter()

    def reload_the_module(self, pick: int) -> None:
        import slicer
        from slicer_standin import modules

        slicer.util.reloadScriptedModule("SFDASegmenter")
        self.panel = modules.select("SFDASegmenter").panel

    # --- Hands -----------------------------------------------------------------------------------

    def _click(self, widget: Any) -> None:
        """Where a user can."""
        from slicer_standin import user

        settle()
        if widget.isVisible() and widget.isEnabled():
            user.click(widget)

    def _choose(self, box: Any, pick: int) -> None:
        from slicer_standin import user

        settle()
        if box.isVisible() and box.isEnabled():
            for _ in range(pick % 3 + 1):
                user.key(box, ("Up", "Down")[pick % 2])


ACTIONS = [
    name
    for name, action in vars(Walk).items()
    if callable(action) and not name.startswith("_") and name not in ("end", "check")
]
OFTEN = ["run_to_the_end", "press_the_button", "click_on_a_result", "change_a_map"]
STEP = st.tuples(st.sampled_from(ACTIONS + 2 * OFTEN), st.integers(0, 59))


@pytest.fixture
def walk(
    slicer_app: Any,
    scene: Any,
    recorded_jobs: Path,
    head_bundle: Path,
    head_file: Path,
    processes: list[Any],
    tmp_path: Path,
) -> Callable[[Sequence[tuple[str, int]]], None]:
    def go(steps: Sequence[tuple[str, int]]) -> None:
        walked = Walk(head_bundle, head_file, tmp_path, processes)
        done: list[tuple[str, int]] = []
        try:
            for name, pick in steps:
                done.append((name, pick))
                getattr(walked, name)(pick)
                walked.check()
            walked.end()
        except Exception as error:
            raise AssertionError(f"{error!r} after {done}") from error

    return go


@pytest.mark.timeout(900)
def test_whatever_a_user_does_nothing_fails_and_nothing_is_left(
    walk: Callable[[Sequence[tuple[str, int]]], None],
) -> None:
    failures: list[BaseException] = []  # hypothesis would repeat a walk, which processes forbid

    @settings(
        max_examples=WALKS,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(STEP, min_size=STEPS, max_size=STEPS))
    def go(steps: list[tuple[str, int]]) -> None:
        if failures:
            return
        try:
            walk(steps)
        except AssertionError as error:
            failures.append(error)

    go()
    if failures:
        raise failures[0]
