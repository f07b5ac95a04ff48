"""What every section of the panel is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from SFDASegmenterLib.panel.services import Services
from SFDASegmenterLib.parameters import Parameters


@dataclass(frozen=True)
class Shared:
    """What all sections share.

    Args:
        ui: the widgets by name.
        parameters: gives the panel's state; None while the scene closes.
        tell: shows one line about something that went wrong, with details.
        services: starts processes, and installs packages.
    """

    ui: Any
    parameters: Callable[[], Parameters | None]
    tell: Callable[[str, str], None]
    services: Services


class Section:
    """A part of the panel: shows the parameters, and writes into them what the user does.

    A subclass connects its widgets in its constructor, and has a method ``show`` that brings them
    in line with the parameters.

    Args:
        shared: what all sections share.
    """

    def __init__(self, shared: Shared) -> None:
        self.ui = shared.ui
        self.tell = shared.tell
        self.services = shared.services
        self._get = shared.parameters

    @property
    def parameters(self) -> Parameters | None:
        """The panel's state; None while the scene closes."""
        return self._get()

    def write(self, **values: Any) -> None:
        """Write fields of the parameters; does nothing while the scene closes."""
        parameters = self.parameters
        if parameters is not None:
            for name, value in values.items():
                setattr(parameters, name, value)

    def close(self) -> None:
        """End what the section started, as the panel goes."""
