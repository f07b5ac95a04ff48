"""Judge a result without labels: better and plausible, to be looked at, no better, or both wrong.

No module knows which method made the result. The coefficients are in coefficients.json and
quality.json, which Testing/Benchmarks/trust fits.

    signals      what can be measured of two segmentations of an image
    structures   each structure of a segmentation by itself, and what is to be looked at in it
    findings     one thing to look at
    regression   a weighted sum of standardised numbers, which both models are
    features     the signals as numbers of which more is worse
    quality      the predicted Dice of one segmentation
    judge        the chance of harm, and the decision
    verdict      the decision as data and as a sentence
    cohort       the verdict on all images of a hospital together
    levels       the four levels of a verdict
    fingerprint  whether intensities are like those of training
"""
