"""The options of inference, which every method has. Standard library alone."""

from __future__ import annotations

from SFDALib.method import Option

OPTIONS = (
    Option("overlap", 0.5, "Share by which neighbouring windows overlap.", 0, 0.9),
    Option("mirror", False, "Average over mirrored copies (2 to the dimensions).", kind="bool"),
)
