"""slicer.ScriptedLoadableModule: the base classes of a scripted module."""

from __future__ import annotations

import sys
import types
import unittest
from pathlib import Path
from typing import Any

import qt
import slicer


def install() -> None:
    """Make the Python module."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    for cls in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(module, cls.__name__, cls)
    module.__all__ = [name for name in vars(module) if name.startswith("Scripted")]
    sys.modules["slicer.ScriptedLoadableModule"] = slicer.ScriptedLoadableModule = module


class ScriptedLoadableModule:
    """Registration."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        icon = Path(parent.path).parent / "Resources" / "Icons" / f"{self.moduleName}.png"
        if icon.is_file():
            parent.icon = qt.QIcon(str(icon))
        slicer.selfTests[self.moduleName] = self.runTest

    def runTest(self, **_keywords: Any) -> None:
        case = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")
        case().runTest()


class ScriptedLoadableModuleWidget:
    """The widget, in a parent that has the scene."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()
        self.logic: Any = None

    def resourcePath(self, name: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def setup(self) -> None:
        """Without the developer's section."""

    def enter(self) -> None:
        return None

    def exit(self) -> None:
        return None

    def cleanup(self) -> None:
        return None


class ScriptedLoadableModuleLogic:
    """Owns the module's parameter node, one in a scene."""

    def __init__(self, _parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        kind = "vtkMRMLScriptedModuleNode"
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, kind)
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass(kind)
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A test case whose ``runTest`` runs every method with "test" in its name."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.messageDelay = 0

    def delayDisplay(self, message: str, msec: int | None = None) -> None:
        print(message)

    def runTest(self) -> None:
        for name in dir(self):
            if "test" in name and callable(getattr(self, name)):
                self.setUp()
                getattr(self, name)()
                self.tearDown()
