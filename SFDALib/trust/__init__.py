"""Judge a result without labels: adopt it, keep the source model's, or look closely.

No module knows which method made the result. The judge's coefficients are in coefficients.json,
which Testing/Benchmarks/trust fits.

    signals      what can be measured of two segmentations of an image
    features     the signals as numbers of which more is worse
    judge        the chance of harm, and the verdict
    fingerprint  whether intensities are like those of training
"""
