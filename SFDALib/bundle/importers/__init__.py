"""Models from elsewhere as bundles: a file for each kind.

Each reads a model's own description and weights as data, says what it cannot take over instead of
guessing, and returns what ``bundle.source.write`` writes. Nothing of a model is executed.
"""
