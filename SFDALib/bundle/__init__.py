"""A source checkpoint on disk: what it holds, reading it safely, writing it.

A MONAI bundle folder, or the same as .zip. Does not know how a method uses it. ``description`` and
``files`` need the standard library alone; ``source`` loads weights and needs torch.
"""
