"""A user who does anything at any time: nothing may fail, and nothing may be left."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from panel_bench import choose_model, set_option, settle

from SFDALib import registry

METHODS = ("none", "heal", "adami")  # whose results were recorded
TEXTS = ("7", "1e-4", "0.5", "2", "much", "", "none")
PICK = st.integers(0, 59)  # which of what there is, by then
WALKS, STEPS = 8, 30
SECONDS = 60  # that a job may take here


class Walk(RuleBasedStateMachine):
    """The panel, its scene and its runs, under a user's hands."""

    folder: Path  # of the recordings, set by the test
    bundle: Path
    image: Path
    processes: list[Any]

    @initialize()
    def open_the_module(self) -> None:
        import slicer
        from slicer_standin import dialect, error_log, modules

        slicer.mrmlScene.Clear()
        settle()
        dialect.slot_errors.clear()
        error_log.errors.clear()
        self.processes.clear()
        self.panel = modules.select("SFDASegmenter").panel

    def teardown(self) -> None:
        import slicer
        from slicer_standin import dialect, error_log, modules

        if not hasattr(self, "panel"):
            return
        node = self.panel.logic.getParameterNode().parameterNode
        modules.close(modules.widget("SFDASegmenter"))
        settle()
        gc.collect()
        assert not node.HasObserver("ModifiedEvent"), "the parameter node is still observed"
        assert not list(Path(slicer.app.temporaryPath).glob("SFDA-*")), "files were left"
        assert all(process.poll() is not None for process in self.processes)
        slicer.mrmlScene.Clear()
        assert dialect.slot_errors == []
        assert error_log.errors == []
        del self.panel

    @property
    def ui(self) -> Any:
        return self.panel.ui

    # --- Choosing --------------------------------------------------------------------------------

    @rule()
    def load_a_volume(self) -> None:
        import slicer

        slicer.util.loadVolume(str(self.image))
        settle()

    @rule(pick=PICK)
    def choose_a_volume(self, pick: int) -> None:
        self._choose(self.ui.inputVolumeSelector, pick)

    @rule(usable=st.booleans())
    def write_a_model(self, usable: bool) -> None:
        if not self.panel.logic.running:
            choose_model(self.panel, self.bundle if usable else self.bundle / "models")

    @rule(method=st.sampled_from(METHODS))
    def choose_a_method(self, method: str) -> None:
        from slicer_standin import user

        if not self.panel.logic.running:
            user.unfold(self.ui.inputSection)
            user.choose(self.ui.methodComboBox, registry.find(method).title)

    @rule(pick=PICK, text=st.sampled_from(TEXTS))
    def write_an_option(self, pick: int, text: str) -> None:
        if self.panel.logic.running:
            return
        options = registry.find(self.panel.request().method).options
        option = options[pick % len(options)]
        if option.choices:
            text = option.choices[pick % len(option.choices)]
        set_option(self.panel, option.name, text)

    @rule(name=st.sampled_from(("compareCheckBox", "gateCheckBox", "resetOptionsButton")))
    def click_in_advanced(self, name: str) -> None:
        from slicer_standin import user

        user.unfold(self.ui.advancedSection)
        self._click(getattr(self.ui, name))

    @rule(pick=PICK)
    def choose_how_many_volumes(self, pick: int) -> None:
        self._choose(self.ui.inputModeComboBox, pick)

    @rule(name=st.sampled_from(("inputSection", "advancedSection", "resultsSection")))
    def fold_or_unfold(self, name: str) -> None:
        import qt

        self._click(getattr(self.ui, name).findChild(qt.QToolButton, "qt_header"))

    # --- Running ---------------------------------------------------------------------------------

    @rule(steps=st.integers(0, 12))
    def press_the_button(self, steps: int) -> None:
        """Run or cancel, and go on after a while, whatever it does by then."""
        self._click(self.ui.applyButton)
        for _ in range(steps):
            settle()

    @rule()
    def wait_for_the_run(self) -> None:
        import time

        end = time.monotonic() + SECONDS
        while self.panel.logic.running:
            settle()
            time.sleep(0.005)
            assert time.monotonic() < end, "the run never ended"

    # --- Looking at results ----------------------------------------------------------------------

    @rule(
        name=st.sampled_from(
            (
                *("resultRadio", "sourceRadio", "bothRadio", "allRadio", "surfaceCheckBox"),
                *("previousPageButton", "nextPageButton", "plotsButton", "reportButton"),
                *("whyButton", "logButton"),
            )
        )
    )
    def click_on_a_result(self, name: str) -> None:
        self._click(getattr(self.ui, name))

    @rule(pick=PICK)
    def choose_a_run(self, pick: int) -> None:
        self._choose(self.ui.resultSelector, pick)

    @rule(pick=PICK, value=st.sampled_from(("0", "0.3", "1")))
    def change_a_map(self, pick: int, value: str) -> None:
        from slicer_standin import user

        roles = sorted(self.panel.results.maps.rows)
        if not roles or not self.ui.mapsWidget.isVisible():
            return
        row = self.panel.results.maps.rows[roles[pick % len(roles)]]
        self._click(row.box)
        if row.button is not None:
            self._click(row.button)
        user.write(row.opacity, value)

    @rule(key=st.sampled_from(("Up", "Down")))
    def browse_the_samples(self, key: str) -> None:
        from slicer_standin import user

        if self.ui.sampleSlider.isVisible():
            user.key(self.ui.sampleSlider, key)

    @rule(number=st.sampled_from((2, 3, 6)))
    def choose_another_layout(self, number: int) -> None:
        import slicer

        slicer.app.layoutManager().setLayout(number)
        settle()

    # --- What happens around the panel -----------------------------------------------------------

    @rule()
    def delete_the_shown_result(self) -> None:
        import slicer

        if self.panel.results.results is not None:
            slicer.mrmlScene.RemoveNode(self.panel.results.results.node)
            settle()

    @rule(pick=PICK)
    def delete_a_volume(self, pick: int) -> None:
        import slicer

        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if volumes:
            slicer.mrmlScene.RemoveNode(volumes[pick % len(volumes)])
            settle()

    @rule()
    def close_the_scene(self) -> None:
        import slicer

        slicer.mrmlScene.Clear()
        settle()

    @rule()
    def save_and_open_the_scene(self) -> None:
        import slicer

        if not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            return  # MRML itself complains of the hierarchy of an empty scene
        path = self.folder / "walk.mrb"
        assert slicer.util.saveScene(str(path))
        slicer.util.loadScene(str(path))
        settle()

    @rule()
    def leave_and_enter(self) -> None:
        self.panel.leave()
        settle()
        self.panel.enter()

    @rule()
    def reload_the_module(self) -> None:
        import slicer
        from slicer_standin import modules

        slicer.util.reloadScriptedModule("SFDASegmenter")
        self.panel = modules.select("SFDASegmenter").panel

    # --- What is true all the time ---------------------------------------------------------------

    @invariant()
    def nothing_has_failed(self) -> None:
        from slicer_standin import application, dialect, error_log

        assert dialect.slot_errors == []
        assert error_log.errors == []
        assert application.window().window.width == 1280

    @invariant()
    def the_button_says_what_it_does(self) -> None:
        if not hasattr(self, "panel"):
            return
        running = self.panel.logic.running
        assert self.ui.applyButton.text == ("Cancel" if running else "Adapt && Segment")
        assert self.ui.applyButton.enabled or running or self.ui.applyButton.toolTip
        alive = [process for process in self.processes if process.poll() is None]
        assert len(alive) <= 3, "a run, and two questions at most"

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
        if box.isVisible() and box.isEnabled() and box.count:
            words = sorted({box.itemText(index) for index in range(box.count)})
            user.choose(box, words[pick % len(words)])


@pytest.fixture
def walk(
    slicer_app: Any,
    scene: Any,
    recorded_jobs: Path,
    head_bundle: Path,
    head_file: Path,
    processes: list[Any],
    tmp_path: Path,
) -> Iterator[type[Walk]]:
    class Prepared(Walk):
        folder, bundle, image = tmp_path, head_bundle, head_file

    Prepared.processes = processes
    yield Prepared


@pytest.mark.timeout(900)
def test_whatever_a_user_does_nothing_fails_and_nothing_is_left(walk: type[Walk]) -> None:
    run_state_machine_as_test(
        walk,
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=STEPS,
            derandomize=True,
            deadline=None,
            database=None,
            phases=(Phase.generate,),  # a walk that fails is told as it was
            suppress_health_check=list(HealthCheck),
        ),
    )
