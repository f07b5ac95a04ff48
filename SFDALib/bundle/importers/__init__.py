"""Models from elsewhere as bundles: a file for each kind.

Each reads a model's own description and weights as data, says what it cannot take over instead of
guessing, and returns what a bundle holds. Nothing of a model is executed. Describing a model needs
the standard library alone, reading its weights torch.
"""
