"""Methods that update weights: a file each. They know nothing of Slicer, files and folders.

What can be asked for (options, paper, needs) is in ``SFDALib.methods``, under the same names.

    none            the source model as it is
    adaent          entropy minimisation under KL(prior || prediction)
    adami           entropy minimisation under KL(prediction || prior)
    bn_statistics   batch statistics of the target
    cbst            the most confident pixels of each class
    dg_tta          equal predictions for two deformations of a patch
    dpl             pixels on which dropout and prototypes agree
    early_features  the first layers learn from the final prediction
    few_labels      fine-tuning on labelled images
    iapc            weighted pseudo-labels and class centroids
    intent          predictions averaged over blends of batch statistics
    muvi            three views of one volume
    protocontra     features moved to class prototypes
    self_training   the most confident pixels
    tent            entropy minimisation by scales and shifts
    upl             pixels on which decoders under rotation agree
    common          what several of them share
"""
