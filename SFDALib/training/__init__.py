"""Training at the source site: segmentation network, early head, diffusion network.

Each writes a complete bundle. One process or ``torchrun``, through the same command. Knows nothing
of Slicer.
"""

AUGMENTATIONS = ("none", "geometric", "intensity", "contrast")  # each adds to the one before
