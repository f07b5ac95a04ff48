"""Translation of texts in files that also work outside Slicer, where texts stay English.

Files that need Slicer anyway import ``slicer.i18n`` themselves. In Slicer it has always been
imported before this file: the module's own file does that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


def _english(text: str) -> str:
    return text


_slicer = sys.modules.get("slicer.i18n")
tr: Callable[[str], str] = _english if _slicer is None else _slicer.tr
