"""report.json as a table and plots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def test_the_table_tells_ml_before_and_after(segmenter: Any, placed: Callable[[], Any]) -> None:
    results = placed().results
    table = results.get("volumes").GetTable()
    row = results.report["volumes"][0]
    names = [table.GetColumnName(i) for i in range(table.GetNumberOfColumns())]
    values = [table.GetValue(0, i).ToString() for i in range(len(names))]
    told = dict(zip(names, values, strict=True))
    assert told["Structure"] == "Brain"
    assert float(told["Source model (ml)"]) == pytest.approx(row["source_ml"])
    assert float(told["Method (ml)"]) == pytest.approx(row["result_ml"])
    assert float(told["Change (ml)"]) == pytest.approx(
        row["result_ml"] - row["source_ml"], abs=1e-6
    )


def test_the_curves_of_an_adaptation_become_a_chart(
    segmenter: Any, phantom: Callable[..., Any]
) -> None:
    volume = segmenter.load(phantom().image)
    results = segmenter.run([volume], "adami", epochs=2)
    chart = results.get("curves")
    assert chart.GetNumberOfPlotSeriesNodes() == len(results.report["adaptation"]["curves"])
    series = chart.GetNthPlotSeriesNode(0)
    column = series.GetTableNode().GetTable().GetColumnByName(series.GetYColumnName())
    curve = next(iter(results.report["adaptation"]["curves"].values()))
    assert [column.GetValue(i) for i in range(column.GetNumberOfTuples())] == pytest.approx(curve)
    assert (results.adapted_bundle / "models" / "model.pt").is_file()


def test_the_legend_of_curves_lies_beside_them_and_a_single_curve_has_none(
    segmenter: Any, placed: Callable[[], Any], phantom: Callable[..., Any]
) -> None:
    """Slicer draws a legend into the upper right of the plot, wherever the curves are."""
    volume = segmenter.load(phantom().image)
    curves = segmenter.run([volume], "adami", epochs=2).get("curves")
    assert curves.GetLegendVisibility()
    low, high = curves.GetXAxisRange()
    assert (low, curves.GetXAxisRangeAuto()) == (0.0, False)
    last = len(next(iter(segmenter.logic.run.results[0].report["adaptation"]["curves"].values())))
    assert high > 1.5 * (last - 1)
    assert not placed().results.get("scores").GetLegendVisibility()
