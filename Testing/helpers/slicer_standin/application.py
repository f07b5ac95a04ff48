"""slicer.app: the scene with its logics, dialogs that never wait, and files through MRML's own
storage nodes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import types
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from PySide6.QtCore import Signal

from slicer_standin import dialect, error_log, modules, parameters, scripted, views
from slicer_standin.ui_loader import load_ui


@dataclass(frozen=True)
class Dialog:
    """A message that a user would have seen."""

    kind: str
    text: str
    detailed: str = ""


dialogs: list[Dialog] = []
answers: deque[bool] = deque()  # to the questions to come; yes where none is queued
exits: list[int] = []  # statuses given to slicer.util.exit
pip_calls: list[Any] = []  # what would have been installed


class Application(qt.QObject):
    """slicer.app."""

    aboutToQuit = Signal()
    startupCompleted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["_testing"] = False
        self._logic = slicer.vtkMRMLApplicationLogic()
        self._files = CoreIOManager()
        self._layouts: Any = None
        self._folder = tempfile.mkdtemp(prefix="slicer-standin-")
        self._settings = qt.QSettings(f"{self._folder}/settings.ini", qt.QSettings.IniFormat)
        self._extensions = ExtensionsManagerModel()
        self._options = types.SimpleNamespace(noMainWindow=False)
        self._modules = qt.QObject()

    applicationName = property(lambda self: "Slicer")
    applicationVersion = property(lambda self: "5.13.0-stand-in")
    majorVersion = property(lambda self: 5)
    minorVersion = property(lambda self: 13)
    slicerHome = property(lambda self: sys.prefix)
    temporaryPath = property(lambda self: self._folder)

    def applicationLogic(self) -> Any:
        return self._logic

    mrmlApplicationLogic = applicationLogic

    def layoutManager(self) -> Any:
        return None if self._options.noMainWindow else self._layouts

    def coreIOManager(self) -> Any:
        return self._files

    ioManager = coreIOManager

    def settings(self) -> Any:
        return self._settings

    userSettings = settings

    def extensionsManagerModel(self) -> Any:
        return self._extensions

    def commandOptions(self) -> Any:
        return self._options

    def testingEnabled(self) -> bool:
        return False

    def processEvents(self) -> None:
        qt.QApplication.processEvents()

    def moduleManager(self) -> Any:
        return self._modules


class ExtensionsManagerModel:
    """Notes what it is asked to install."""

    def __init__(self) -> None:
        self.installed: list[str] = []

    def isExtensionInstalled(self, name: str) -> bool:
        return name in self.installed

    def installExtensionFromServer(self, name: str) -> bool:
        self.installed.append(name)
        return True


class CoreIOManager:
    """Loads and saves nodes by their files' names."""

    def fileType(self, path: str) -> str:
        name = path.lower()
        if name.endswith((".mrb", ".mrml")):
            return "SceneFile"
        if name.endswith((".seg.nrrd", ".seg.nhdr")):
            return "SegmentationFile"
        if name.endswith((".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".dcm")):
            return "VolumeFile"
        if name.endswith((".png", ".jpg", ".jpeg", ".tif", ".tiff")):
            return "VolumeFile"
        return "TransformFile" if name.endswith((".h5", ".tfm")) else "NoFile"

    def loadNodes(self, kind: str, properties: Any, loaded: Any, messages: Any = None) -> bool:
        path, scene = properties["fileName"], slicer.mrmlScene
        if kind == "SceneFile":
            return _load_scene(path, clear=properties.get("clear", True))
        alone = properties.get("singleFile", False)
        made = {
            "VolumeFile": lambda path: _load_volume(path, alone),
            "SegmentationFile": _load_segmentation,
            "TransformFile": _load_transform,
        }
        if kind not in made:
            raise NotImplementedError(f"the stand-in loads no {kind}: {path}")
        if not os.path.exists(path):
            return False
        node = made[kind](path)
        if node is None:
            return False
        node.SetName(properties.get("name") or scene.GenerateUniqueName(_stem(path)))
        loaded.AddItem(node)
        return True

    def fileWriterFileType(self, node: Any) -> str:
        return f"{node.GetClassName()}File"

    def saveNodes(self, kind: str, properties: Any, messages: Any = None) -> bool:
        path = properties["fileName"]
        if kind == "SceneFile":
            return _save_scene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        storage.SetFileName(path)
        return bool(storage.WriteData(node))


def start(slicer_: types.ModuleType) -> None:
    """Give the module ``slicer`` what the application has."""
    if qt.QApplication.instance() is None:
        qt.QApplication([])
    sys.excepthook = _keep_errors(sys.excepthook)
    error_log.install()
    slicer_.mrmlScene = slicer.vtkMRMLScene()
    dialect.translate(Application)
    slicer_.app = Application()
    qt.QSettings = _default_settings(qt.QSettings)
    modules.start(slicer_.app.applicationLogic())
    _give_cache(slicer_.mrmlScene, slicer_.app.temporaryPath)
    scripted.install()
    parameters.install()
    _install_small_modules()
    _replace_util()
    slicer_.app._layouts = views.LayoutManager(slicer_.app.applicationLogic())


def window() -> Any:
    """The main window, as ``slicer_standin.window`` made it."""
    return slicer.app._layouts._window


def _give_cache(scene: Any, folder: str) -> None:
    """A scene bundle (.mrb) is unpacked into the cache."""
    cache = slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(folder)
    cache.SetMRMLScene(scene)
    manager = slicer.vtkDataIOManager()
    manager.SetCacheManager(cache)
    scene.SetDataIOManager(manager)
    scene.SetCacheManager(cache)


def _keep_errors(before: Any) -> Any:
    """What a slot raised that was connected without a signature."""

    def hook(kind: Any, error: BaseException, trace: Any) -> None:
        dialect.slot_errors.append(error)
        before(kind, error, trace)

    return hook


def _default_settings(real: Any) -> Any:
    """``qt.QSettings()`` is the application's, in its temporary folder."""

    class Settings(real):
        def __init__(self, *arguments: Any) -> None:
            if not arguments:
                arguments = (slicer.app.settings().fileName(), real.IniFormat)
            super().__init__(*arguments)

    return Settings


def _install_small_modules() -> None:
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text, *_: text
    i18n.translate = lambda _context, text, *_: text
    sys.modules["slicer.i18n"] = slicer.i18n = i18n
    samples = types.ModuleType("SampleData")
    samples.SampleDataLogic = type(
        "SampleDataLogic",
        (),
        {
            "sources": [],
            "titles": {},
            "registerCustomSampleDataSource": staticmethod(_register_sample),
            "registerCustomSampleDataCategory": staticmethod(_title_samples),
        },
    )
    sys.modules["SampleData"] = samples


def _title_samples(category: str, title: str) -> None:
    sys.modules["SampleData"].SampleDataLogic.titles[category] = title


def _register_sample(**source: Any) -> None:
    sys.modules["SampleData"].SampleDataLogic.sources.append(source)


def _replace_util() -> None:
    """The functions of slicer.util that need a window; the others are real."""
    util = slicer.util
    for kind in ("error", "warning", "info"):
        setattr(util, f"{kind}Display", _display(kind))
    for name in ("confirmOkCancelDisplay", "confirmYesNoDisplay"):
        setattr(util, name, _confirm)
    util.mainWindow = lambda *_: (
        None if slicer.app.commandOptions().noMainWindow else window().window
    )
    util.showStatusMessage = lambda text, duration=0: None
    util.loadUI = load_ui
    util.exit = exits.append
    util.pip_install = pip_calls.append
    util.settingsValue = lambda key, default, converter=lambda v: v: (
        converter(slicer.app.settings().value(key))
        if slicer.app.settings().contains(key)
        else default
    )
    util.modulePath = lambda name: getattr(slicer.modules, name.lower()).path
    util.getModuleWidget = modules.widget
    util.reloadScriptedModule = modules.reload
    for name in vars(util):
        if not name.startswith("_") and not hasattr(slicer, name):
            setattr(slicer, name, getattr(util, name))


def _display(kind: str) -> Any:
    def display(text: str, **more: Any) -> None:
        dialogs.append(Dialog(kind, text, more.get("detailedText", "")))

    return display


def _confirm(text: str, *_titles: Any, **_more: Any) -> bool:
    dialogs.append(Dialog("confirm", text))
    return answers.popleft() if answers else True


# --- Files ---------------------------------------------------------------------------------------


def _stem(path: str) -> str:
    return Path(path).name.split(".")[0]


def _load_volume(path: str, alone: bool) -> Any:
    """A volume of one file, or unless it is alone of those beside it with other numbers, too."""
    before = list(error_log.errors)  # which kind of volume it is, is found by trying
    for kind in ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode"):
        node = slicer.mrmlScene.AddNewNodeByClass(kind)
        storage = _storage("vtkMRMLVolumeArchetypeStorageNode", path)
        storage.SetSingleFile(alone)
        if storage.ReadData(node) and node.GetImageData() is not None:
            components = node.GetImageData().GetNumberOfScalarComponents()
            if (components > 1) == (kind == "vtkMRMLVectorVolumeNode"):
                error_log.errors[:] = before
                node.SetAndObserveStorageNodeID(storage.GetID())
                node.CreateDefaultDisplayNodes()
                _show(node)
                return node
        slicer.mrmlScene.RemoveNode(node)
        slicer.mrmlScene.RemoveNode(storage)
    return None


def _storage(kind: str, path: str) -> Any:
    storage = slicer.mrmlScene.AddNewNodeByClass(kind)
    storage.SetFileName(path)
    return storage


def _show(node: Any) -> None:
    """In the background of all views, as Slicer does with what was loaded."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActiveVolumeID(node.GetID())
    slicer.app.applicationLogic().PropagateVolumeSelection()


def _load_segmentation(path: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = _storage("vtkMRMLSegmentationStorageNode", path)
    node.SetAndObserveStorageNodeID(storage.GetID())
    if not storage.ReadData(node):
        return None
    node.CreateDefaultDisplayNodes()
    return node


def _load_transform(path: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    return node if _storage("vtkMRMLTransformStorageNode", path).ReadData(node) else None


def _load_scene(path: str, clear: bool) -> bool:
    scene = slicer.mrmlScene
    messages = slicer.vtkMRMLMessageCollection()
    if path.endswith(".mrb"):
        return bool(scene.ReadFromMRB(path, clear, messages))
    scene.SetURL(path)
    return bool(scene.Connect(messages) if clear else scene.Import(messages))


def _save_scene(path: str) -> bool:
    scene = slicer.mrmlScene
    if path.endswith(".mrb"):
        return bool(scene.WriteToMRB(path, vtk.vtkImageData(), slicer.vtkMRMLMessageCollection()))
    return bool(slicer.app.applicationLogic().SaveSceneToSlicerDataBundleDirectory(path))
