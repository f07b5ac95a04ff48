"""A source checkpoint on disk: what it holds, reading it safely, writing it.

A MONAI bundle folder, or the same as .zip; or a model from elsewhere that ``importers`` can read.
Does not know how a method uses it. ``opening``, ``description`` and ``files`` need the standard
library alone; ``source`` loads weights and needs torch.
"""
