"""What several methods share.

loop               the runner: epochs, evaluation, the best state, ensembles
recipe             the steps that a method overrides, and the setting it works in
model_selection    criterion without labels, collapse, early stopping
patches            the target images as batches; labelled_patches: labelled images as batches
losses             every loss with its equation
features           the classifier's input features; contrast: contrastive learning on them
batch_norm         re-estimated statistics, scale and shift
prior              class ratios; prior_entropy: what AdaMI and AdaEnt share
pseudo_labels      what self-training and CBST share
members            several adaptations delivered as one ensemble
views              a 3D network on a volume with permuted axes
intensity_noise, affine, augmentation    random changes of a batch
"""
