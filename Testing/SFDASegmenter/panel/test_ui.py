"""The panel in a window of 1280 x 800 pixels: a clinician sees what is pressed and read first."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from panel_bench import FOR_EVER, compare, offered, settle

WIDTH, HEIGHT = 1280, 800
PANEL = 412  # pixels that the application gives a module at least


@pytest.fixture
def fits(panel: Any) -> Callable[[str], None]:
    """Asserts that window and panel have kept their size, and that no text is cut."""
    from slicer_standin import application
    from slicer_standin.window import cut_texts

    window = application.window()

    def check(when: str) -> None:
        settle()
        assert (window.window.width, window.window.height) == (WIDTH, HEIGHT), when
        assert window.panel.width <= PANEL, when
        assert window.panel.verticalScrollBar().maximum == 0, f"{when}: it scrolls by itself alone"
        assert cut_texts(window.panel.widget()) == [], when

    return check


def scrolled(panel: Any) -> Iterator[int]:
    """Scroll the panel from top to bottom."""
    bar = panel.ui.scrollArea.verticalScrollBar()
    for place in (0, bar.maximum // 2, bar.maximum):
        bar.value = place
        settle()
        yield place
    bar.value = 0
    settle()


def hidden(*widgets: Any) -> list[str]:
    """Which of the widgets are not in sight."""
    from slicer_standin.window import in_sight

    return [widget.objectName for widget in widgets if not in_sight(widget)]


def test_before_a_run_all_that_is_needed_is_in_sight_and_nothing_is_unfolded(
    panel: Any,
    fill: Callable[..., Any],
    pump: Callable[..., None],
    fits: Callable[[str], None],
) -> None:
    ui = panel.ui
    fits("opened")
    assert hidden(ui.inputVolumeSelector, ui.bundlePathEdit, ui.methodComboBox) == []
    assert hidden(ui.applyButton) == []
    assert ui.scrollArea.verticalScrollBar().maximum == 0, "without scrolling"
    assert ui.advancedSection.collapsed
    assert not ui.volumesTable.visible, "no empty table"
    assert not ui.resultsSection.visible or ui.resultsSection.collapsed
    fill("heal")
    pump(lambda: "about" in ui.estimateLabel.text)
    fits("chosen")
    assert hidden(ui.inputVolumeSelector, ui.bundlePathEdit, ui.methodComboBox) == []
    assert hidden(ui.applyButton, ui.estimateLabel) == []
    assert ui.scrollArea.verticalScrollBar().maximum == 0, "without scrolling"


def test_button_and_progress_stay_in_sight_while_a_run_goes_on(
    panel: Any,
    fill: Callable[..., Any],
    start: Callable[[], Any],
    pump: Callable[..., None],
    fits: Callable[[str], None],
) -> None:
    from slicer_standin import user

    fill("adami", epochs=FOR_EVER)
    user.unfold(panel.ui.advancedSection)
    running = start()
    fits("running")
    for place in scrolled(panel):
        assert hidden(panel.ui.applyButton, panel.ui.progressBar, panel.ui.progressLabel) == [], (
            place
        )
    user.click(panel.ui.applyButton)
    pump(lambda: running.ended)


@pytest.mark.parametrize("method", ["none", "heal", "adami"])
def test_after_a_run_verdict_and_button_stay_and_all_results_are_in_sight(
    panel: Any,
    fill: Callable[..., Any],
    run: Callable[[], Any],
    fits: Callable[[str], None],
    method: str,
) -> None:
    fill(method)
    run()
    ui = panel.ui
    fits("done")
    rows = [row.box for row in panel.results.maps.rows.values()]
    assert hidden(ui.volumesTable, ui.resultRadio, ui.bothRadio, *rows) == []
    assert hidden(ui.plotsButton, ui.reportButton, ui.saveBundleButton) == []
    for place in scrolled(panel):
        assert hidden(ui.applyButton, ui.verdictLabel) == [], place
    assert ui.samplesWidget.visible == (method == "heal")


def test_no_cell_of_the_table_is_cut(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any], fits: Callable[[str], None]
) -> None:
    from slicer_standin import user

    fill("none")
    first = run().results[0]
    report = first.report
    report["volumes"][0] |= {"name": "Left kidney", "source_ml": 320.5, "result_ml": 1801.0}
    report["uncertainty"][0] |= {"uncertain_percent": 12.34, "entropy_bits": 0.123}
    first.get("report").SetText(json.dumps(report))
    run()
    user.choose(panel.ui.resultSelector, first.node.GetName())
    fits("done")
    table = panel.ui.volumesTable
    assert table.horizontalScrollBar().maximum == 0
    assert [table.item(0, column).text() for column in (0, 4)] == ["Left kidney", "12 %"]
    for column in range(5):
        for item in (table.item(0, column), table.horizontalHeaderItem(column)):
            swatch = 16 if column == 0 and item is table.item(0, 0) else 0
            needed = table.fontMetrics().horizontalAdvance(item.text()) + swatch
            assert table.columnWidth(column) >= needed, item.text()


def test_everything_unfolded_widens_nothing_and_leaves_the_button_in_sight(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any], fits: Callable[[str], None]
) -> None:
    from slicer_standin import user

    fill("heal")
    run()
    ui = panel.ui
    for section in (ui.inputSection, ui.advancedSection, ui.resultsSection):
        user.unfold(section)
    for row in panel.results.maps.rows.values():
        if row.button is not None:
            user.click(row.button)
    ui.methodFactsLabel.linkActivated.emit("more")
    ui.bundleFactsLabel.linkActivated.emit("more")
    fits("unfolded")
    for method in offered(panel):
        user.choose(ui.methodComboBox, method.title)
        fits(method.name)
    for place in scrolled(panel):
        assert hidden(ui.applyButton, ui.verdictLabel) == [], place
    user.click(ui.whyButton)
    fits("why")
    assert hidden(ui.applyButton, ui.verdictLabel, ui.whyText) == []


@pytest.mark.parametrize("shown", ["bothRadio", "allRadio", "plotsButton"])
def test_no_view_of_a_comparison_widens_the_window(
    panel: Any,
    fill: Callable[..., Any],
    run: Callable[[], Any],
    fits: Callable[[str], None],
    shown: str,
) -> None:
    from slicer_standin import user

    fill("none")
    compare(panel)
    ended = run()
    adapted = next(one for one in ended.results if one.charts)
    user.choose(panel.ui.resultSelector, adapted.node.GetName())
    user.click(panel.ui.resultRadio)
    user.click(getattr(panel.ui, shown))
    fits(shown)
    assert hidden(panel.ui.applyButton, panel.ui.verdictLabel) == []


def test_a_message_has_its_row_for_itself_and_details_a_small_part(
    panel: Any,
    fill: Callable[..., Any],
    run: Callable[[], Any],
    fits: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill("none")
    compare(panel)
    monkeypatch.setenv("SFDA_FAILING", "tent,upl")
    run()
    fits("failed")
    ui = panel.ui
    assert hidden(ui.messageLabel, ui.logButton, ui.applyButton) == []
    assert ui.logButton.width < 0.3 * ui.messageFrame.width


def test_there_are_no_gaps_below_the_volume_and_the_facts(
    panel: Any, fill: Callable[..., Any]
) -> None:
    """Between one row of the input and the next there are no more than a few pixels."""
    import qt

    fill("heal")
    ui = panel.ui
    section = ui.inputSection
    rows = [ui.inputVolumeSelector, ui.bundlePathEdit, ui.bundleFactsLabel]
    rows += [ui.methodComboBox, ui.methodFactsLabel]
    ends = [(one.mapTo(section, qt.QPoint(0, 0)).y(), one.height) for one in rows]
    gaps = [below - (above + high) for (above, high), (below, _) in itertools.pairwise(ends)]
    assert max(gaps) <= 14, gaps
    line = ui.bundleFactsLabel.fontMetrics().lineSpacing()
    assert ui.bundleFactsLabel.height <= 3 * line


def test_every_control_has_a_tooltip(panel: Any) -> None:
    without = []
    for name, widget in vars(panel.ui).items():
        if name.startswith(("_", "qt_")) or not hasattr(widget, "toolTip"):
            continue  # qt_: parts that a widget makes for itself
        interactive = any(
            widget.inherits(kind)
            for kind in ("QAbstractButton", "QComboBox", "QAbstractSpinBox", "QAbstractSlider")
        )
        inside = widget.parent() is not None and widget.parent().inherits("ctkSliderWidget")
        if interactive and not inside and not widget.toolTip:
            without.append(name)
    assert without == []


def test_the_tab_key_goes_from_top_to_bottom(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    """Through everything that can be used, before a run and after one."""
    from slicer_standin import user

    fill("heal")
    _goes_down(panel, panel.ui.inputModeComboBox)
    user.unfold(panel.ui.advancedSection)
    _goes_down(panel, panel.ui.inputModeComboBox)
    run()
    _goes_down(panel, panel.ui.resultRadio)


def _goes_down(panel: Any, first: Any) -> None:
    """Press Tab from the first field on, until the keyboard is at the button."""
    import qt
    from slicer_standin import user

    top, button = panel.ui.scrollArea.parent(), panel.ui.applyButton
    user.key(first, "Tab")
    places: list[tuple[int, str]] = []
    while (one := qt.QApplication.focusWidget()) is not button:
        assert len(places) < 60, places
        scrolled = panel.ui.scrollArea.verticalScrollBar().value
        inside = panel.ui.scrollContents.isAncestorOf(one)
        place = one.mapTo(top, one.rect.center()).y() + (scrolled if inside else 0)
        places.append((place if inside else 10_000 + place, one.objectName or type(one).__name__))
        user.key(one, "Tab")
    assert len(places) > 3
    for (above, one), (below, other) in itertools.pairwise(places):
        assert above <= below + 12, (one, other)
