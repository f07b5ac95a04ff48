"""Judge a result without labels: adopt it, keep the source model's, or look closely.

signals      measures how a result differs from the source model's segmentation
judge        a logistic regression on these signals; Testing/Benchmarks/trust fits its coefficients
features     the numbers that the regression takes, and a sentence for each
fingerprint  whether an image's intensities are like those of the training images

None of them knows which method made the result.
"""
