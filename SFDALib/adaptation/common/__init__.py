"""What several adaptation methods share.

recipe            the steps that a method overrides
loop              the runner: epochs, the best state, ensembles
model_selection   rating a state without labels, and collapse
losses            each with its equation
patches           the target images as batches
labelled_patches  patches with labels
features          the input of the classifier
batch_norm        statistics of the target, and the layers' weights
prior             class ratios
prior_entropy     entropy under a prior: AdaMI and AdaEnt
pseudo_labels     rounds of pseudo-labels: self-training and CBST
contrast          contrastive learning: ProtoContra's second stage
members           several adaptations delivered as one ensemble
views             a volume with its axes permuted
affine            random affine maps and their inverses
augmentation      weak changes in place and intensity
intensity_noise   random changes of intensity
"""
