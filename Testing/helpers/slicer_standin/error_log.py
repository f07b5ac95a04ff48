"""The application's error log: what Python, VTK and Qt wrote there as errors."""

from __future__ import annotations

import logging
import sys
from typing import Any

import vtk
from PySide6.QtCore import QtMsgType, qInstallMessageHandler

errors: list[str] = []  # a test asserts that it stays empty
OF_MRML = (
    # whenever a scene is opened in which a view was turned to an oblique volume
    "GetSliceOrientationPreset: invalid orientation preset name: Reformat",
    # sometimes where a scene is opened without the application's plug-ins for the hierarchy
    "ResolveUnresolvedItems: Failed to process",
    "ResolveSubjectHierarchy: Failed to",
)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        errors.append(f"{record.name}: {record.getMessage()}")


def install() -> None:
    """Listen; once."""
    logging.getLogger().addHandler(_Handler(logging.ERROR))
    vtk.vtkOutputWindow.GetInstance().AddObserver("ErrorEvent", _of_vtk)
    qInstallMessageHandler(_of_qt)


def take() -> list[str]:
    """The errors so far, which a test expects and so takes out of the log."""
    taken = list(errors)
    errors.clear()
    return taken


@vtk.calldata_type(vtk.VTK_STRING)
def _of_vtk(_caller: Any, _event: Any, text: str) -> None:
    if not any(known in text for known in OF_MRML):
        errors.append(" ".join(text.split()))


def _of_qt(kind: QtMsgType, _context: Any, text: str) -> None:
    print(f"Qt: {text}", file=sys.stderr)
    if kind in (QtMsgType.QtCriticalMsg, QtMsgType.QtFatalMsg):
        errors.append(f"Qt: {text}")
