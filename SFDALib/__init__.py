"""Source-free domain adaptation of segmentation models: everything that computes.

The rooms, in floors: a room imports from the floors below its own alone.

    __main__     the entry point: signals, exit status

    commands     the command line: a file for each command or two, and the arguments they share

    jobs         what is asked for, its progress events, and carrying it out

    adaptation   methods that update weights: a file each
    heal         HEAL: denoising, edge-guided selection, size-aware fusion, the pipeline

    training     segmentation network, early head, diffusion network

    trust        signals of a result without labels, and the verdict on it
    results      the result folder, whole or absent
    inference    from an image to class probabilities: sliding window, mirroring

    bundle       a source model on disk, read safely; importers for nnU-Net and MONAI

    volume       an image with its geometry; to a model's grid and back
    yaml_file    YAML as plain data, bounded
    json_fields  the fields of a JSON object, each checked

    networks     the networks that a bundle may name
    diffusion    noise schedule, samplers, conditions, drawing
    evaluation   Dice, ASD, HD95, surface Dice, ml; agreement between segmentations
    machine      devices, main memory, batches that fit, out of memory
    methods      what can be asked for: every method, its options, needs and results
    json_file    JSON as plain data, bounded
    hashing      SHA-256 of files, folders and models

    uncertainty  entropy, regional entropy, NIG variance
    gin          random contrasts, for training and adaptation
    rounding     whole numbers rounded to multiples
    progress     how a computation reports its steps
    errors       refusals, out of memory, cancellation: one line for the user

Nothing here imports slicer, qt, ctk or vtk. Importing this package, ``methods``, a job's
description or a bundle's metadata needs the standard library alone: the panel of 3D Slicer opens,
lists methods and judges a bundle's metadata before torch is installed.
"""

__version__ = "0.1.0"
NOTICE = "Research software, not a medical device."  # wherever something is shown or written
