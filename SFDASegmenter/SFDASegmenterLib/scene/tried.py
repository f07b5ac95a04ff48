"""What else the automatic choice tried on an image: the result folders of the other methods.

Of one image they are placed in the scene with its result. Of a cohort's images they are placed when
the user asks for those of one image: several methods for each of many images would take the memory
of hundreds of volumes, and hide the images' own results among them.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from SFDASegmenterLib.scene.placement import Origin, Placement
from SFDASegmenterLib.scene.results import FRAME, IMAGE, RUN, SEQUENCE, Results


def others(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The other methods that have a result.

    Args:
        report: report.json of the chosen method.

    Returns:
        Their rows of the report, with the folder relative to that of the chosen one.
    """
    rows = report.get("auto", {}).get("tried", [])
    return [row for row in rows if row["folder"] not in (None, ".")]


def waiting(results: Results) -> list[Mapping[str, Any]]:
    """The others, if none of them is in the scene and the run's files are kept; else empty."""
    if results.folder is None or len(results.compared) > 1:
        return []
    return others(results.report)


def place(results: Results) -> Generator[None, None, None]:
    """Place those that are waiting, hidden, a node at a time.

    If one cannot be read, or the iterator is closed before its end, all are taken out again.
    """
    folder, run = results.folder, results.node.GetAttribute(RUN)
    if folder is None:
        return
    placed: list[Placement] = []
    try:
        for row in waiting(results):
            one = Placement(folder / row["folder"], _origin(results), run, row["trust"])
            placed.append(one)
            for _step in one.steps():
                if one.results is not None:
                    one.results.node.GetDisplayNode().SetVisibility(False)
                yield
    except BaseException:
        for one in placed:
            one.remove()
        raise


def _origin(results: Results) -> Origin:
    """The image of a result."""
    node, volume = results.node, results.input
    sequence, index = node.GetNodeReferenceID(SEQUENCE), node.GetAttribute(FRAME)
    return Origin(
        node.GetAttribute(IMAGE),
        volume.GetID() if volume is not None else None,
        (sequence, int(index)) if sequence is not None and index is not None else None,
    )
