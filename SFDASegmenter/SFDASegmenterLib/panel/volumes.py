"""The table of the shown run: each structure's volume before and after, and how unsure it is."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from SFDASegmenterLib import words
from SFDASegmenterLib.panel.section import Section, Shared
from SFDASegmenterLib.scene.results import Results

HEADINGS = (_("Volume (ml)"), _("Source"), _("Method"), _("Change"), _("Unsure"))
UNSURE = 4  # column
ROWS = 5  # without scrolling
ROW_HEIGHT = 22  # pixels


class VolumesSection(Section):
    """The table."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        table = self.ui.volumesTable
        table.setColumnCount(len(HEADINGS))
        table.setHorizontalHeaderLabels(HEADINGS)
        table.horizontalHeaderItem(UNSURE).setToolTip(
            _(
                "The share of the delivered segmentation's voxels in this structure for which the"
                " model is unsure: the entropy of its probabilities is above 0.5 bits (with two"
                " classes, the likelier one has less than 89 %)."
            )
        )
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        table.horizontalHeader().setFixedHeight(ROW_HEIGHT)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)

    def show(self, results: Results | None) -> None:
        """Fill the table; there is none without a run."""
        report = results.report if results is not None else {}
        rows = report.get("volumes", [])
        unsure = {row["label"]: words.unsure(row) for row in report.get("uncertainty", [])}
        table = self.ui.volumesTable
        table.setRowCount(len(rows))
        table.setColumnHidden(UNSURE, not any(text for text, _tip in unsure.values()))
        for index, row in enumerate(rows):
            before, after = row["source_ml"], row["result_ml"]
            sizes = (words.ml(before), words.ml(after), words.change(before, after))
            share, tip = unsure.get(row["label"], ("", ""))
            for column, text in enumerate((row["name"], *sizes, share)):
                item = qt.QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))
                table.setItem(index, column, item)
            table.item(index, UNSURE).setToolTip(tip)
            table.item(index, 0).setData(qt.Qt.DecorationRole, _color(results, index))
        table.setFixedHeight(ROW_HEIGHT * (min(len(rows), ROWS) + 1) + 2 * table.frameWidth)
        table.visible = bool(rows)


def _color(results: Results | None, index: int) -> Any:
    """The colour of a segment, as a square."""
    square = qt.QPixmap(12, 12)
    segmentation = results.node.GetSegmentation() if results is not None else None
    if segmentation is not None and index < segmentation.GetNumberOfSegments():
        red, green, blue = segmentation.GetNthSegment(index).GetColor()
        square.fill(qt.QColor(int(red * 255), int(green * 255), int(blue * 255)))
    return square
