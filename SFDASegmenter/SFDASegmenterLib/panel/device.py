"""The device, the estimate of time and memory, and the Python packages.

Devices and estimates come from short commands in processes of their own, so that torch is never
imported here; while one runs the section says so, and a newer question replaces an older one.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from SFDALib.bundle.open_model import open_model
from SFDALib.errors import RequestError
from SFDALib.trust.fingerprint import unlike
from SFDASegmenterLib import staging, words
from SFDASegmenterLib.dependencies import DependencyError
from SFDASegmenterLib.panel.forms import put, silenced
from SFDASegmenterLib.panel.section import Section, Shared
from SFDASegmenterLib.parameters import Parameters
from SFDASegmenterLib.protocols import Question
from SFDASegmenterLib.request import Request

SETTLED = 800  # milliseconds without a change before an estimate is asked for
POLL = 100  # milliseconds


class DeviceSection(Section):
    """The device, the estimate and the packages."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        ui = self.ui
        self._devices: Question | None = None
        self._estimate: Question | None = None
        self._asked: tuple[list[str], Request] | None = None  # of the latest estimate, in words
        self._known = False  # whether the devices are listed
        self._settle = _timer(SETTLED, self._ask, once=True)
        self._poll = _timer(POLL, self._listen)
        ui.deviceComboBox.addItem(_("Automatic (GPU if there is one)"), "auto")
        ui.deviceComboBox.addItem(_("CPU"), "cpu")
        ui.deviceComboBox.connect("currentIndexChanged(int)", self._choose)
        ui.wheelsButton.connect("clicked()", self._install_from_folder)

    def enter(self) -> None:
        """Look for packages and devices, as the user opens the module."""
        self.show_packages()
        if not self._known and self._devices is None and not self.services.installer.missing():
            self._devices = self.services.ask(["devices"])
            self._poll.start()

    def show_packages(self) -> None:
        """Show which packages are missing, and a button to install them from a folder."""
        missing = self.services.installer.missing()
        ui = self.ui
        ui.packagesWidget.visible = bool(missing)
        if missing:
            ui.packagesLabel.text = html.escape(
                _("Not installed yet: {what}. You will be asked at the first run.").format(
                    what=missing.in_words()
                )
            )
            ui.wheelsButton.toolTip = missing.command()

    def show(self, parameters: Parameters, request: Request | None) -> None:
        """Bring the widgets in line with the parameters; ask for an estimate of the request.

        Args:
            parameters: the panel's state.
            request: None while it cannot be carried out.
        """
        combo, device = self.ui.deviceComboBox, parameters.device
        with silenced(combo):
            if combo.findData(device) < 0:  # of a scene from another computer
                combo.addItem(device, device)
            put(combo, currentIndex=combo.findData(device))
        asked = None
        if request is not None and not self.services.installer.missing():
            command = _estimate_command(request)
            asked = (command, request) if command is not None else None
        if asked == self._asked:
            return
        self._drop_estimate()
        self._asked = asked
        self.ui.estimateLabel.text = ""
        if asked is not None:
            self._settle.start()

    def pause(self) -> None:
        """Stop estimating, as a run starts and needs the device."""
        self._drop_estimate()
        self._asked = None
        self.ui.estimateLabel.text = ""

    def close(self) -> None:
        """End the commands that run."""
        self._settle.stop()
        self._poll.stop()
        self._drop_estimate()
        if self._devices is not None:
            self._devices.end()
            self._devices = None

    # --- Questions and answers -------------------------------------------------------------------

    def _ask(self) -> None:
        if self._asked is not None:
            self.ui.estimateLabel.text = _("Estimating time and memory...")
            self._estimate = self.services.ask(self._asked[0])
            self._poll.start()

    def _listen(self) -> None:
        if self._devices is not None and self._devices.ended:
            devices, self._devices = self._devices.answer(), None
            self._known = devices is not None
            self._list(devices or [])
        if self._estimate is not None and self._estimate.ended:
            answer, self._estimate = self._estimate.answer(), None
            self.ui.estimateLabel.text = (
                _in_words(answer, self._asked[1]) if answer and self._asked else ""
            )
        if self._devices is None and self._estimate is None:
            self._poll.stop()

    def _drop_estimate(self) -> None:
        self._settle.stop()
        if self._estimate is not None:
            self._estimate.end()
            self._estimate = None

    def _list(self, devices: list[dict[str, Any]]) -> None:
        combo = self.ui.deviceComboBox
        for device in devices:
            text = device["title"]
            if device["free_mb"] is not None:
                text += _(", {free} free").format(free=words.memory(device["free_mb"]))
            index = combo.findData(device["name"])
            if index < 0:
                combo.addItem(text, device["name"])
            else:
                combo.setItemText(index, text)

    # --- What the user does ----------------------------------------------------------------------

    def _choose(self, index: int) -> None:
        self.write(device=self.ui.deviceComboBox.itemData(index))

    def _install_from_folder(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder of wheels"))
        if not folder:
            return
        try:
            self.services.installer.install_from(Path(folder))
        except DependencyError as error:
            self.tell(str(error), "")
        self.enter()


def _estimate_command(request: Request) -> list[str] | None:
    """The command that estimates the request; None without a volume to measure."""
    nodes = staging.nodes_of(request.images[0])
    if not nodes or nodes[0].GetImageData() is None:
        return None
    node = nodes[0]
    direction = [[0.0] * 3 for _row in range(3)]
    node.GetIJKToRASDirections(direction)
    # RAS to LPS: the first two rows change their sign.
    flipped = [
        (-value if row < 2 else value) for row, values in enumerate(direction) for value in values
    ]
    options = [f"--option={name}={value}" for name, value in request.typed_options().items()]
    which = ("--method", request.method)
    if request.compared:
        which = ("--methods", ",".join(request.compared))
    return [
        *("estimate", "--bundle", request.bundle, *which, "--preset", request.preset, *options),
        *("--device", request.device, "--images", str(len(request.images))),
        f"--volumes={request.volumes}",
        *(("--adapt", request.adapt) if request.is_cohort else ()),
        f"--size={_listed(node.GetImageData().GetDimensions())}",
        f"--spacing={_listed(node.GetSpacing())}",
        f"--direction={_listed(flipped)}",
    ]


def _listed(numbers: Any) -> str:
    return ",".join(f"{number:g}" for number in numbers)


def _doubts(request: Request) -> list[str]:
    """How the first image differs from the training images; a run checks all images."""
    try:
        description = open_model(Path(request.bundle)).describe()
    except RequestError:  # it has just gone, which the next start tells
        return []
    return unlike(staging.voxels_of(request.images[0]), description)


def _in_words(answer: dict[str, Any], request: Request) -> str:
    """The estimate of a request as rich text, with the warnings first."""
    text = _("{device}: {time}, {memory} of memory").format(
        device=words.device(answer["title"]),
        time=words.expected_time(answer["seconds"], answer["adapted"], request),
        memory=words.memory(answer["memory_mb"]),
    )
    if answer["free_mb"] is not None:
        text += _(" ({free} free)").format(free=words.memory(answer["free_mb"]))
    text = html.escape(text)
    warnings = "<br>".join(
        html.escape(line) for line in (*_doubts(request), answer["advice"]) if line
    )
    if warnings:
        text = f'<span style="color: #c0392b"><b>{warnings}</b></span><br>{text}'
    return text


def _timer(milliseconds: int, slot: Callable[[], None], once: bool = False) -> Any:
    timer = qt.QTimer()
    timer.setInterval(milliseconds)
    timer.setSingleShot(once)
    timer.connect("timeout()", slot)
    return timer
