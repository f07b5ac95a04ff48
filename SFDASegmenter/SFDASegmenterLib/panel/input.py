"""Image and source model."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SFDALib.bundle.bundle_files import WEIGHTS_SUFFIXES
from SFDALib.errors import RequestError
from SFDALib.jobs.inspect import inspect
from SFDASegmenterLib import library, staging, words
from SFDASegmenterLib.panel.forms import Rows, put, silenced
from SFDASegmenterLib.panel.more import More
from SFDASegmenterLib.panel.section import Section, Shared
from SFDASegmenterLib.parameters import ONE, SEQUENCE, SEVERAL, Parameters
from SFDASegmenterLib.request import Image
from SFDASegmenterLib.scene import slices
from SFDASegmenterLib.scene.results import ROLE

LAST_BUNDLE = "SFDASegmenter/Bundle"  # of the application's settings


class InputSection(Section):
    """Image and source model."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        ui = self.ui
        self._bundle: str | None = None  # the one whose facts are shown
        self._facts: dict[str, Any] | None = None
        self._rows = Rows(ui.channelsWidget)
        self._selectors: list[Any] = []  # of the second and further channels
        for mode, text in (
            (ONE, _("Volume")),
            (SEVERAL, _("Volumes")),
            (SEQUENCE, _("Sequence")),
        ):
            ui.inputModeComboBox.addItem(text, mode)
        ui.inputModeComboBox.connect("currentIndexChanged(int)", self._choose_mode)
        for adapt, text in words.ADAPT.items():
            ui.adaptComboBox.addItem(text, adapt)
        ui.adaptComboBox.toolTip = words.ADAPT_HELP
        ui.adaptComboBox.connect("currentIndexChanged(int)", self._choose_adapt)
        ui.inputVolumesSelector.connect("checkedNodesChanged()", self._choose_volumes)
        ui.bundlePathEdit.connect("currentPathChanged(QString)", self._choose_bundle)
        self._menu = qt.QMenu(ui.bundleButton)
        for text, slot in (
            (_("Folder..."), self._browse_folder),
            (_("File (.zip, or weights)..."), self._browse_file),
            (_("The example that comes with this module"), self.choose_example),
        ):
            self._menu.addAction(text).connect("triggered()", slot)
        ui.bundleButton.setMenu(self._menu)
        self._more = More(ui.bundleFactsLabel)

    @property
    def facts(self) -> dict[str, Any] | None:
        """What the source model is; None if none is chosen or it is unusable."""
        return self._facts

    def images(self, parameters: Parameters) -> tuple[Image, ...]:
        """What is chosen, empty if nothing is."""
        if parameters.inputMode == SEVERAL:
            nodes = [node for node in parameters.inputVolumes if node is not None]
            return tuple(staging.image_of([node]) for node in nodes)
        if parameters.inputMode == SEQUENCE:
            sequence = parameters.inputSequence
            return tuple(staging.frames_of(sequence)) if sequence is not None else ()
        first = parameters.inputVolume
        if first is None:
            return ()
        further = [node for node in parameters.channels if node is not None]
        return (staging.image_of([first, *further[: len(self._selectors)]]),)

    def show(self, parameters: Parameters) -> None:
        """Bring the widgets in line with the parameters."""
        ui = self.ui
        index = ui.inputModeComboBox.findData(parameters.inputMode)
        put(ui.inputModeComboBox, currentIndex=index)
        for mode, field in (
            (ONE, ui.inputVolumeSelector),
            (SEVERAL, ui.inputVolumesSelector),
            (SEQUENCE, ui.inputSequenceSelector),
        ):
            field.visible = parameters.inputMode == mode
        ui.adaptComboBox.visible = parameters.inputMode != ONE
        put(ui.adaptComboBox, currentIndex=ui.adaptComboBox.findData(parameters.adapt))
        if not parameters.bundle:
            parameters.bundle = str(qt.QSettings().value(LAST_BUNDLE) or "")
        if parameters.bundle != self._bundle:
            self._bundle = parameters.bundle
            put(ui.bundlePathEdit, currentPath=parameters.bundle)
            self._inspect()
        self._show_channels(parameters)

    def preselect(self) -> None:
        """Choose the volume that the user looks at, unless one is chosen."""
        parameters = self.parameters
        if parameters is None or parameters.inputVolume is not None:
            return
        volume = slices.volume_in_sight()
        if (
            volume is not None
            and volume.IsA("vtkMRMLScalarVolumeNode")
            and volume.GetAttribute(ROLE) is None
        ):
            parameters.inputVolume = volume

    def keep_bundle(self) -> None:
        """Remember the source model of a run that has started, to offer it next time."""
        qt.QSettings().setValue(LAST_BUNDLE, self._bundle)

    # --- What the user does ----------------------------------------------------------------------

    def _choose_mode(self, index: int) -> None:
        self.write(inputMode=self.ui.inputModeComboBox.itemData(index))

    def _choose_adapt(self, index: int) -> None:
        self.write(adapt=self.ui.adaptComboBox.itemData(index))

    def _choose_volumes(self) -> None:
        self.write(inputVolumes=list(self.ui.inputVolumesSelector.checkedNodes()))

    def _choose_bundle(self, path: str) -> None:
        self.write(bundle=path)

    def _browse_folder(self) -> None:
        self._take(qt.QFileDialog.getExistingDirectory(None, _("Source model"), self._bundle or ""))

    def _browse_file(self) -> None:
        endings = " ".join(f"*{suffix}" for suffix in (".zip", *WEIGHTS_SUFFIXES))
        title, kinds = _("Source model"), _("Models ({endings})").format(endings=endings)
        self._take(qt.QFileDialog.getOpenFileName(None, title, self._bundle or "", kinds))

    def choose_example(self) -> None:
        """Choose the model that comes with this module."""
        self._take(str(library.EXAMPLE_BUNDLE))

    def _take(self, path: str) -> None:
        if path:
            self.write(bundle=path)

    # --- What is shown ---------------------------------------------------------------------------

    def _inspect(self) -> None:
        self._facts = None
        self.ui.plausibleVolumesEdit.placeholderText = ""
        if not self._bundle:
            self._more.show(_("Choose the model that was trained elsewhere, or the example."), "")
            return
        try:
            self._facts = inspect(Path(self._bundle))
        except RequestError as error:
            self._more.show(f'<span style="color: #c0392b">{html.escape(str(error))}</span>', "")
        else:
            self._more.show(words.bundle(self._facts), words.bundle_details(self._facts))
            self.ui.plausibleVolumesEdit.placeholderText = words.plausible_volumes(self._facts)

    def _show_channels(self, parameters: Parameters) -> None:
        """A selector for each channel beyond the first, where the model has several."""
        first = parameters.inputVolume
        own = staging.channel_count(first) if first is not None else 1
        one_by_one = parameters.inputMode == ONE and own == 1
        wanted = self._facts["channels"] - 1 if self._facts is not None and one_by_one else 0
        if wanted != len(self._selectors):
            self._rows.clear()
            self._selectors = [self._channel_selector(number + 2) for number in range(wanted)]
        for selector, node in zip(self._selectors, parameters.channels, strict=False):
            if node is not None and selector.currentNode() is not node:
                with silenced(selector):
                    selector.setCurrentNode(node)
        self.ui.channelsWidget.visible = wanted > 0

    def _channel_selector(self, number: int) -> Any:
        selector = slicer.qMRMLNodeComboBox(self._rows.parent)
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.noneEnabled = True
        selector.addEnabled = selector.removeEnabled = selector.renameEnabled = False
        selector.toolTip = _("The volume of channel {number}.").format(number=number)
        selector.setMRMLScene(slicer.mrmlScene)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", self._choose_channels)
        self._rows.add(_("Channel {number}:").format(number=number), selector)
        return selector

    def _choose_channels(self, _node: Any) -> None:
        nodes = [selector.currentNode() for selector in self._selectors]
        self.write(channels=[node for node in nodes if node is not None])
