"""Packages that are missing, and installing them from the panel."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from paths import ROOT


@pytest.fixture
def installer(slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installer that is given to the panel: all is there, until a test says otherwise."""
    from SFDASegmenterLib.dependencies import DependencyError, Missing
    from SFDASegmenterLib.panel.services import Services

    import SFDASegmenter as module

    class Installer:
        def __init__(self) -> None:
            self.lacking = Missing(False, ())
            self.folders: list[Path] = []

        refusal = "Not installed: monai."

        def missing(self) -> Any:
            return self.lacking

        def ensure(self) -> None:
            if self.lacking:
                raise DependencyError(self.refusal)

        def install_from(self, wheels: Path) -> None:
            self.folders.append(wheels)
            self.lacking = Missing(False, ())

    made = Installer()
    monkeypatch.setattr(module.SFDASegmenterWidget, "services", Services(installer=made))
    return made


def test_the_panel_asks_for_packages_at_the_click_and_installs_from_a_folder(
    installer: Any,
    panel: Any,
    fill: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import qt
    from SFDASegmenterLib.dependencies import Missing
    from slicer_standin import user

    fill("none")
    assert not panel.ui.packagesWidget.visible
    installer.lacking = Missing(True, ("monai>=1.5",))
    user.click(panel.ui.applyButton)
    assert not panel.logic.running
    assert panel.ui.messageLabel.text == installer.refusal
    assert "PyTorch (200 MB" in panel.ui.packagesLabel.text
    assert "monai" in panel.ui.packagesLabel.text
    assert "--no-index" in panel.ui.wheelsButton.toolTip
    monkeypatch.setattr(
        qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *_: str(tmp_path))
    )
    user.unfold(panel.ui.advancedSection)
    user.click(panel.ui.wheelsButton)
    assert installer.folders == [tmp_path]
    assert not panel.ui.packagesWidget.visible


def test_the_user_is_asked_with_what_and_how_large_and_a_refusal_is_respected(
    slicer_app: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer
    from SFDASegmenterLib import dependencies
    from SFDASegmenterLib.dependencies import DependencyError, Missing
    from slicer_standin import application

    monkeypatch.setattr(dependencies, "missing", lambda: Missing(True, ("monai>=1.5",)))
    monkeypatch.setattr(slicer.util, "pip_install", lambda _: pytest.fail("installed"))
    application.answers.append(False)
    with pytest.raises(DependencyError, match="Nothing was changed"):
        dependencies.ensure()
    question = application.dialogs[-1].text
    assert "PyTorch (200 MB" in question
    assert "monai" in question


def test_installing_packages_keeps_the_pytorch_that_is_there(
    slicer_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import version

    import slicer
    from SFDASegmenterLib import dependencies
    from SFDASegmenterLib.dependencies import Missing
    from slicer_standin import application

    lacking = [Missing(False, ("monai>=1.5",)), Missing(False, ())]
    monkeypatch.setattr(dependencies, "missing", lambda: lacking.pop(0))
    installed: list[list[str]] = []
    monkeypatch.setattr(slicer.util, "pip_install", installed.append)
    application.answers.append(True)
    dependencies.ensure()
    assert installed == [["monai>=1.5", f"torch=={version('torch')}"]]


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_the_pytorch_that_is_asked_for_is_that_of_the_package(
    slicer_app: Any, platform: str
) -> None:
    from SFDASegmenterLib import dependencies

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [
        requirement.specifier
        for requirement in map(Requirement, project["project"]["dependencies"])
        if requirement.name == "torch"
        and (not requirement.marker or requirement.marker.evaluate({"sys_platform": platform}))
    ]
    asked = Requirement(dependencies.torch_for(platform)).specifier
    for version in ("2.5.1", "2.6.0", "2.10.0", "2.11.0", "2.11.0+cu130"):
        allowed = all(specifier.contains(version) for specifier in wanted)
        assert asked.contains(version) == allowed, version


@pytest.mark.parametrize(
    ("found", "requirement", "there"),
    [
        ("2.11.0+cu130", "torch>=2.6", True),
        ("2.5.1", "torch>=2.6", False),
        ("1.6.0rc1", "monai>=1.5", True),
        ("1.5.0", "monai>=1.5,<1.5", False),
        (None, "monai", False),
    ],
)
def test_a_package_is_there_in_a_version_that_is_allowed_or_it_is_missing(
    slicer_app: Any,
    monkeypatch: pytest.MonkeyPatch,
    found: str | None,
    requirement: str,
    there: bool,
) -> None:
    import importlib.metadata

    from SFDASegmenterLib import dependencies

    def version(name: str) -> str:
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert dependencies.installed(requirement) is there
