"""Source-free domain adaptation of segmentation models: everything that computes.

Rooms, and who may know whom (arrows run one way, to the right):

    __main__ -> commands -> jobs -> (heal | adaptation -> training)
             -> (inference, uncertainty, diffusion) -> (networks, bundle, volume) -> errors

Adaptation takes of training what learning from labels is: cases, patches and the loss. ``gin``
changes contrasts for both.
``results`` writes files and computes nothing; ``metrics`` measures, ``agreement`` compares
segmentations with one another, ``trust`` judges a result without labels, and none knows a method.
Nothing here imports slicer, qt, ctk or vtk. Importing this package, the method registry, a job's
description or a bundle's metadata needs the standard library alone: torch is imported where
something is computed.
"""

__version__ = "0.1.0"
NOTICE = "Research software, not a medical device."  # wherever something is shown or written
