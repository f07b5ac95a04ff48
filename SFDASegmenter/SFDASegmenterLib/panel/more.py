"""A line that unfolds."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _


class More:
    """A label with what matters, and a link that unfolds the rest; its tooltip holds both.

    Args:
        label: shows rich text.
    """

    def __init__(self, label: Any) -> None:
        self._label = label
        self._unfolded = False
        self._short = self._rest = ""
        label.connect("linkActivated(QString)", self._toggle)

    def show(self, short: str, rest: str) -> None:
        """Both as rich text; without a rest there is no link."""
        self._short, self._rest = short, rest
        self._write()

    def _toggle(self, _link: str) -> None:
        self._unfolded = not self._unfolded
        self._write()

    def _write(self) -> None:
        short, rest = self._short, self._rest
        self._label.visible = bool(short)
        self._label.toolTip = f"<p>{short}</p><p>{rest}</p>"
        if not rest:
            self._label.text = short
        elif self._unfolded:
            self._label.text = f'{short}<br>{rest} <a href="less">{_("Less")}</a>'
        else:
            self._label.text = f'{short} <a href="more">{_("More")}</a>'
