"""Judge a result without labels: adopt it, keep the source model's, or look closely.

``signals`` measures what can be seen of two segmentations of one image, ``judge`` weighs it with
the coefficients of coefficients.json, which Testing/Benchmarks/trust fits. Neither knows which
method made the result.
"""
