"""Which Python packages are missing, and installing them: asked for at the moment of use, with what
and how large, and never without the user's consent.

PyTorch comes through the PyTorch extension, which chooses the build that fits the graphics card.
A machine without network installs from a folder of wheels. Versions are read from the packages'
metadata; no package is imported. The package ``packaging`` is part of Slicer, which uses it itself.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from dataclasses import dataclass
from pathlib import Path

import slicer
from packaging.requirements import Requirement
from slicer.i18n import tr as _

from SFDASegmenterLib import library

REQUIREMENTS = library.RESOURCES / "requirements.txt"
TORCH_SIZE = _("200 MB for computing on the CPU, 3 GB with support for an NVIDIA card")
OTHERS_SIZE = _("about 150 MB")


class DependencyError(Exception):
    """Packages are missing; the text is one line that says what to do."""


def torch_for(platform: str) -> str:
    """The requirement for PyTorch on a platform, as in pyproject.toml.

    Args:
        platform: as of ``sys.platform``. Apple's GPU needs a newer version.
    """
    return "torch>=2.11" if platform == "darwin" else "torch>=2.6"


TORCH = torch_for(sys.platform)


@dataclass(frozen=True)
class Missing:
    """What is not installed, or too old.

    Args:
        torch: whether PyTorch is.
        others: the other packages, as requirements.
    """

    torch: bool
    others: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.torch or bool(self.others)

    @property
    def requirements(self) -> tuple[str, ...]:
        """All that is missing, as requirements."""
        return ((TORCH,) if self.torch else ()) + self.others

    def in_words(self) -> str:
        """What would be installed, and how large it is."""
        parts = [f"PyTorch ({TORCH_SIZE})"] if self.torch else []
        if self.others:
            parts.append(f"{', '.join(self.others)} ({OTHERS_SIZE})")
        return "; ".join(parts)

    def command(self, wheels: str = "FOLDER") -> str:
        """The command that installs them from a folder of wheels, for machines without network."""
        packages = " ".join(map(_quoted, self.requirements))
        return f'PythonSlicer -m pip install --no-index --find-links "{wheels}" {packages}'


def missing() -> Missing:
    """What the computation needs and this Python lacks."""
    lines = (line.strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    wanted = [line for line in lines if line and not line.startswith("#")]
    return Missing(
        torch=not installed(TORCH),
        others=tuple(requirement for requirement in wanted if not installed(requirement)),
    )


def installed(requirement: str) -> bool:
    """Whether a package is there in a version that the requirement allows."""
    wanted = Requirement(requirement)
    try:
        found = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return wanted.specifier.contains(found, prereleases=True)


def ensure() -> None:
    """Install what is missing, with the user's consent.

    Raises:
        DependencyError: the user declined, nobody can be asked, or the installation failed.
    """
    lacking = missing()
    if not lacking:
        return
    if slicer.app.testingEnabled() or slicer.app.commandOptions().noMainWindow:
        command = f"PythonSlicer -m pip install {' '.join(map(_quoted, lacking.requirements))}"
        raise DependencyError(
            _("Not installed: {packages}. Install it with: {command}").format(
                packages=", ".join(lacking.requirements), command=command
            )
        )
    question = _(
        "The computation needs Python packages that are not installed yet:\n\n"
        "{packages}\n\n"
        "Download and install them now? This takes some minutes, once.\n\n"
        "On a machine without network, choose Cancel and then Install from folder... in the panel."
    ).format(packages=lacking.in_words())
    if not slicer.util.confirmOkCancelDisplay(question, _("SFDA: install packages")):
        raise DependencyError(
            _(
                "Not installed: {packages}. Nothing was changed. Press the button again to install"
                " them, or install them from a folder of wheels."
            ).format(packages=", ".join(lacking.requirements))
        )
    if lacking.torch:
        _install_torch()
    if lacking.others:
        _install(list(lacking.others))
    _confirm_installed()


def install_from(wheels: Path) -> None:
    """Install what is missing from a folder of wheels, without network.

    Raises:
        DependencyError: the folder lacks something.
    """
    lacking = missing()
    _install(["--no-index", "--find-links", str(wheels), *lacking.requirements])
    _confirm_installed()


def _confirm_installed() -> None:
    importlib.invalidate_caches()
    left = missing()
    if left:
        raise DependencyError(
            _(
                "Still not installed: {packages}. See the Python console (View menu) for the"
                " reason."
            ).format(packages=", ".join(left.requirements))
        )


def _install_torch() -> None:
    try:
        import PyTorchUtils  # exists only where the extension PyTorch is installed
    except ImportError as error:
        manager = slicer.app.extensionsManagerModel()
        question = _(
            "PyTorch is installed through the extension PyTorch, which is not installed yet."
            " Install this extension now? You must then restart Slicer."
        )
        title = _("SFDA: install the PyTorch extension")
        if slicer.util.confirmYesNoDisplay(question, title) and manager.installExtensionFromServer(
            "PyTorch"
        ):
            raise DependencyError(
                _(
                    "The extension PyTorch is installed. Restart Slicer, then press the button"
                    " again."
                )
            ) from error
        raise DependencyError(
            _(
                "The extension PyTorch is not installed. Install it in the Extensions Manager,"
                " restart Slicer, then press the button again."
            )
        ) from error
    version = str(Requirement(TORCH).specifier)
    logic = PyTorchUtils.PyTorchUtilsLogic()
    if logic.installTorch(askConfirmation=True, torchVersionRequirement=version) is None:
        raise DependencyError(_("PyTorch was not installed. Press the button again to install it."))


def _install(arguments: list[str]) -> None:
    """pip on the main thread, with Slicer's own window for its progress where there is one.

    The version of PyTorch is pinned to the one that is installed, as packages that need torchvision
    would replace it by another build.
    """
    if installed(TORCH):
        arguments = [*arguments, f"torch=={importlib.metadata.version('torch')}"]
    try:
        slicer.util.pip_install(arguments)
    except Exception as error:  # CalledProcessError, or RuntimeError in newer versions of Slicer
        raise DependencyError(
            _(
                "The packages could not be installed ({error}). See the Python console (View menu)"
                " for the reason."
            ).format(error=str(error)[:200])
        ) from error


def _quoted(requirement: str) -> str:
    return f'"{requirement}"'
