"""A stand-in for 3D Slicer: slicer-core's real MRML, PySide6 in PythonQt's dialect, and as much of
the application as this project's module uses.

It runs the unmodified module and its .ui on machines without Slicer, refuses names that it does not
know, and is used by tests and screenshots alone. Where the application is stricter than Qt and MRML
are by themselves, it is as strict: see test_standin.py and test_standin_window.py. It cannot vouch
for installation, Slicer's own Python, or the looks of real CTK and qMRML widgets; the module's
self-test in the real application does.

    dialect        Qt as PythonQt shows it
    ownership      objects that go while a signal of theirs is delivered
    error_log      the errors that the application would have in its log
    ctk_widgets    ctk
    qmrml_widgets  the widgets that show nodes
    ui_loader      .ui files
    application    slicer.app, dialogs, files
    modules        slicer.modules, and making, reloading and closing scripted modules
    scripted       slicer.ScriptedLoadableModule
    parameters     slicer.parameterNodeWrapper
    window         the main window: the module panel and the views, with their sizes
    views          layouts and what the views show, as pictures
    user           keys and clicks
    fixtures       for pytest
"""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from typing import Any

from system_libraries import missing_packages

PACKAGES = {"slicer": "slicer-core", "PySide6": "PySide6-Essentials"}
PROBE = """
import vtk
window = vtk.vtkRenderWindow()
window.SetOffScreenRendering(1)
window.SetSize(8, 8)
window.Render()
"""


def environment() -> None:
    """What must be set before Qt and VTK are imported."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ["PYSIDE6_OPTION_PYTHON_ENUM"] = "2"  # enumerators are plain numbers, as in PythonQt
    if sys.platform == "linux":
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")


@functools.cache
def missing() -> str | None:
    """Why it cannot run here; None if it can."""
    absent = [pip for name, pip in PACKAGES.items() if importlib.util.find_spec(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    packages = missing_packages()
    return f"not installed: Debian's {' '.join(packages)}" if packages else None


@functools.cache
def rendering() -> str | None:
    """Why views cannot be drawn here; None if they can. VTK crashes where there is no OpenGL."""
    environment()
    probe = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, check=False)
    return None if probe.returncode == 0 else "VTK cannot render here: no EGL driver"


@functools.cache
def start() -> Any:
    """Start the application, once; returns the module ``slicer``.

    Raises:
        ImportError: see ``missing``.
    """
    environment()
    from slicer_standin import dialect

    dialect.install()
    from slicer_standin import ctk_widgets

    ctk_widgets.install()
    import slicer

    from slicer_standin import qmrml_widgets

    qmrml_widgets.install(slicer)
    from slicer_standin import application

    application.start(slicer)
    return slicer
