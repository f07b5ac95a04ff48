"""report.json as tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

# A legend lies over the upper right of the plot, wherever the data are: the axis goes on to the
# right of the curves by this share of their length, so that it covers none of them.
LEGEND_SHARE = 0.7


def volumes_table(name: str, report: Mapping[str, Any]) -> slicer.vtkMRMLTableNode:
    """The volume of every structure before and after, in ml."""
    rows = report["volumes"]
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    _add_column(table, _("Structure"), [row["name"] for row in rows])
    _add_column(table, _("Source model (ml)"), [row["source_ml"] for row in rows])
    _add_column(table, _("Method (ml)"), [row["result_ml"] for row in rows])
    _add_column(table, _("Change (ml)"), [row["result_ml"] - row["source_ml"] for row in rows])
    for end, title in enumerate((_("Plausible from (ml)"), _("Plausible to (ml)"))):
        plausible = [row["plausible_ml"][end] if row["plausible_ml"] else None for row in rows]
        _add_column(table, title, plausible)
    return table


def curves_chart(
    name: str, report: Mapping[str, Any]
) -> tuple[slicer.vtkMRMLPlotChartNode, list[slicer.vtkMRMLNode]] | None:
    """The curves of an adaptation by epoch; None for a method that adapts nothing.

    Returns:
        The chart, and the nodes that it is made of.
    """
    if not report["adaptation"]:
        return None
    curves = report["adaptation"]["curves"]
    epochs = range(max((len(curve) for curve in curves.values()), default=0))
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", f"{name} curves")
    x = _("Epoch")
    _add_column(table, x, [float(epoch) for epoch in epochs])
    titles = {key: _curve_title(key, report["volumes"]) for key in curves}
    for key, curve in curves.items():
        _add_column(table, titles[key], [curve[i] if i < len(curve) else None for i in epochs])
    chart, parts = _chart(f"{name} curves", table, x, list(titles.values()), _("Value"))
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(0, max(1, len(epochs) - 1) * (1 + LEGEND_SHARE))
    return chart, parts


def scores_chart(
    name: str, report: Mapping[str, Any]
) -> tuple[slicer.vtkMRMLPlotChartNode, list[slicer.vtkMRMLNode]] | None:
    """The score of every diffusion sample; None where there are none."""
    samples = report["details"].get("samples")
    if not samples:
        return None
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", f"{name} sample scores")
    x, title = _("Sample"), _("Share of the expected edges found (0 to 1)")
    _add_column(table, x, [float(number) for number in range(1, len(samples) + 1)])
    _add_column(table, title, [sample["score"] for sample in samples])
    chart, parts = _chart(f"{name} sample scores", table, x, [title], title)
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(0, max(10, len(samples) + 1))  # so wide that the ticks are whole numbers
    return chart, parts


CURVES = {
    "criterion": _("Selection criterion"),
    "entropy_bits": _("Entropy (bits)"),
    "training_loss": _("Training loss"),
    "agreement": _("Early layers (Dice)"),
}


def _curve_title(key: str, volumes: Sequence[Mapping[str, Any]]) -> str:
    """The title of a curve in a plot; ``share_1`` is named after the first structure."""
    names = {f"share_{number}": row["name"] for number, row in enumerate(volumes, start=1)}
    if key in names:
        return _("{structure} (share)").format(structure=names[key])
    return CURVES.get(key, key.replace("_", " ").capitalize())


def _add_column(table: slicer.vtkMRMLTableNode, title: str, values: Sequence[Any]) -> None:
    """A column of text or of numbers; None becomes NaN."""
    text = all(isinstance(value, str) for value in values)
    column = vtk.vtkStringArray() if text else vtk.vtkDoubleArray()
    column.SetName(title)
    for value in values:
        column.InsertNextValue(float("nan") if value is None else value)
    table.AddColumn(column)


def _chart(
    name: str,
    table: slicer.vtkMRMLTableNode,
    x: str,
    columns: Sequence[str],
    y_title: str,
) -> tuple[slicer.vtkMRMLPlotChartNode, list[slicer.vtkMRMLNode]]:
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
    chart.SetTitle(name)
    chart.SetXAxisTitle(x)
    chart.SetYAxisTitle(y_title)
    chart.SetLegendFontSize(9)
    chart.SetLegendVisibility(len(columns) > 1)
    parts: list[slicer.vtkMRMLNode] = [table]
    for column in columns:
        series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", column)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(x)
        series.SetYColumnName(column)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
        series.SetUniqueColor()
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
        parts.append(series)
    return chart, parts
