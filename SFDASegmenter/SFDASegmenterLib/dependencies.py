"""Which Python packages are missing, and installing them: asked for at the moment of use, with what
and how large, and never without the user's consent.

PyTorch comes through the PyTorch extension, which chooses the build that fits the graphics card.
A machine without network installs from a folder of wheels. Nothing is imported to see whether it is
there.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path

import slicer

from SFDASegmenterLib import library

REQUIREMENTS = library.RESOURCES / "requirements.txt"
TORCH = "torch>=2.6"
TORCH_SIZE = "200 MB for computing on the CPU, 3 GB with support for an NVIDIA card"
OTHERS_SIZE = "about 150 MB"


class DependencyError(Exception):
    """The packages are not there; the one line says what to do."""


@dataclass(frozen=True)
class Missing:
    """What is not installed, or too old, as requirements."""

    torch: bool
    others: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.torch or bool(self.others)

    @property
    def requirements(self) -> tuple[str, ...]:
        return ((TORCH,) if self.torch else ()) + self.others

    def in_words(self) -> str:
        """What would be installed, and how large it is."""
        parts = [f"PyTorch ({TORCH_SIZE})"] if self.torch else []
        if self.others:
            parts.append(f"{', '.join(self.others)} ({OTHERS_SIZE})")
        return "; ".join(parts)

    def command(self, wheels: str = "FOLDER") -> str:
        """The command that installs them from a folder of wheels, for machines without network."""
        packages = " ".join(f'"{requirement}"' for requirement in self.requirements)
        return f'PythonSlicer -m pip install --no-index --find-links "{wheels}" {packages}'


def missing() -> Missing:
    """What the computation needs and this Python lacks."""
    wanted = [
        line.strip()
        for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    return Missing(
        torch=not _installed(TORCH),
        others=tuple(requirement for requirement in wanted if not _installed(requirement)),
    )


def ensure() -> None:
    """Have everything installed, asking first.

    Raises:
        DependencyError: the user declined, nobody can be asked, or the installation failed.
    """
    lacking = missing()
    if not lacking:
        return
    if slicer.app.testingEnabled() or slicer.app.commandOptions().noMainWindow:
        raise DependencyError(
            f"Not installed: {', '.join(lacking.requirements)}. Install it with: PythonSlicer -m"
            f" pip install {' '.join(map(_quoted, lacking.requirements))}"
        )
    question = (
        "The computation needs Python packages that are not installed yet:\n\n"
        f"{lacking.in_words()}\n\n"
        "Download and install them now? This takes some minutes, once.\n\n"
        "On a machine without network, choose Cancel and then Install from folder... in the panel."
    )
    if not slicer.util.confirmOkCancelDisplay(question, "SFDA: install packages"):
        raise DependencyError(
            f"Not installed: {', '.join(lacking.requirements)}. Nothing was changed; press the"
            " button again to install, or install from a folder of wheels."
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
            f"Still not installed: {', '.join(left.requirements)}. The Python console (View menu)"
            " shows why."
        )


def _install_torch() -> None:
    try:
        import PyTorchUtils
    except ImportError as error:
        manager = slicer.app.extensionsManagerModel()
        if slicer.util.confirmYesNoDisplay(
            "PyTorch is installed through the extension PyTorch, which is not there yet."
            " Install this extension now? Slicer must then be restarted once.",
            "SFDA: install the PyTorch extension",
        ) and manager.installExtensionFromServer("PyTorch"):
            raise DependencyError(
                "The extension PyTorch is installed: restart Slicer, then press the button again."
            ) from error
        raise DependencyError(
            "The extension PyTorch is not installed: install it in the Extensions Manager, restart"
            " Slicer, then press the button again."
        ) from error
    version = TORCH.removeprefix("torch")
    logic = PyTorchUtils.PyTorchUtilsLogic()
    if logic.installTorch(askConfirmation=True, torchVersionRequirement=version) is None:
        raise DependencyError("PyTorch was not installed. Press the button again to install it.")


def _install(words: list[str]) -> None:
    """pip on the main thread, with Slicer's own window for its progress where there is one.

    PyTorch stays the build that is there, which a package that needs torchvision would replace.
    """
    if _installed(TORCH):
        words = [*words, f"torch=={importlib.metadata.version('torch')}"]
    try:
        slicer.util.pip_install(words)
    except Exception as error:  # of subprocess, or RuntimeError of a newer Slicer
        raise DependencyError(
            f"The packages could not be installed ({str(error)[:200]}). The Python console (View"
            " menu) shows why."
        ) from error


def _installed(requirement: str) -> bool:
    """Whether a package is there in the version that is asked for."""
    name, least = re.fullmatch(r"([\w.-]+)(?:>=([\d.]+))?", requirement).groups()
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return least is None or _numbers(found) >= _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version, without what follows the numbers."""
    return tuple(int(part) for part in re.match(r"[\d.]+", version).group().strip(".").split("."))


def _quoted(requirement: str) -> str:
    return f'"{requirement}"'
