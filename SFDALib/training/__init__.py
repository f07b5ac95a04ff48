"""Training at the source site; each kind writes a complete bundle. Knows nothing of Slicer.

One process or ``torchrun``, through the same command.

    segmentation  the segmentation network, and what adaptation needs to know of the source
    early_head    a head on early features
    diffusion     the diffusion network
    loop          mixed precision, moving average, checkpoints, several GPUs
    checkpoint    the state of a training on disk, and going on from it
    patches       random patches, a function of (seed, step, rank)
    statistics    volumes, areas and shapes of the structures in label maps
    at_home       what a model does on images of its own kind
    manifest      the training cases: CSV or nnU-Net's raw folder
    label_maps    sizes from label maps alone, for models that come without
    request       what the three share
"""

AUGMENTATIONS = ("none", "geometric", "intensity", "contrast")  # each adds to the one before
