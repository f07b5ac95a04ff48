"""The methods that update weights: one file each. They know nothing of Slicer, files and folders.

What several share: ``loop`` (epochs, the best state, ensembles), ``patches`` (the target images as
batches), ``watch`` (the label-free criterion, and collapse), ``losses``, ``features`` (the
classifier and what it sees), ``batch_norm``, ``prior`` and ``prior_entropy`` (class ratios),
``pseudo_labels`` and ``labelled``, ``contrast``, ``views``, ``members``, and random changes of a
batch: ``intensity``, ``affine``, ``augmentation``.
"""
