"""report.json as tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk


def volumes_table(name: str, report: Mapping[str, Any]) -> slicer.vtkMRMLTableNode:
    """The volume of every structure before and after, in ml."""
    rows = report["volumes"]
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    _add_column(table, "Structure", [row["name"] for row in rows])
    _add_column(table, "Source model (ml)", [row["source_ml"] for row in rows])
    _add_column(table, "Result (ml)", [row["result_ml"] for row in rows])
    _add_column(table, "Change (ml)", [row["result_ml"] - row["source_ml"] for row in rows])
    for end, word in enumerate(("from", "to")):
        plausible = [row["plausible_ml"][end] if row["plausible_ml"] else None for row in rows]
        _add_column(table, f"Plausible {word} (ml)", plausible)
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
    _add_column(table, "Epoch", [float(epoch) for epoch in epochs])
    titles = {key: _curve_title(key, report["volumes"]) for key in curves}
    for key, curve in curves.items():
        _add_column(table, titles[key], [curve[i] if i < len(curve) else None for i in epochs])
    return _chart(f"{name} curves", table, "Epoch", list(titles.values()), "Value")


def scores_chart(
    name: str, report: Mapping[str, Any]
) -> tuple[slicer.vtkMRMLPlotChartNode, list[slicer.vtkMRMLNode]] | None:
    """The score of every diffusion sample; None where there are none."""
    samples = report["details"].get("samples")
    if not samples:
        return None
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", f"{name} sample scores")
    _add_column(table, "Sample", [float(number) for number in range(1, len(samples) + 1)])
    title = "Expected edges found"
    _add_column(table, title, [sample["score"] for sample in samples])
    chart, parts = _chart(f"{name} sample scores", table, "Sample", [title], "Share (0 to 1)")
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(0, max(10, len(samples) + 1))  # so wide that the ticks are whole numbers
    return chart, parts


CURVES = {
    "criterion": "Selection criterion",
    "entropy_bits": "Entropy (bits)",
    "training_loss": "Training loss",
    "agreement": "Early layers (Dice)",
}


def _curve_title(key: str, volumes: Sequence[Mapping[str, Any]]) -> str:
    """What a curve is called in a plot: a share is that of a structure, by its label."""
    names = {f"share_{number}": row["name"] for number, row in enumerate(volumes, start=1)}
    if key in names:
        return f"{names[key]} (share)"
    return CURVES.get(key, key.replace("_", " ").capitalize())


def _add_column(table: slicer.vtkMRMLTableNode, title: str, values: Sequence[Any]) -> None:
    """A column of text or of numbers; a number that is missing shows as such."""
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
    chart.SetLegendFontSize(9)  # small, as it lies over the curves
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
