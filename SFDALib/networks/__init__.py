"""The networks that a bundle may name.

``catalogue`` lists them (standard library alone), ``build`` builds them within bounds, ``outputs``
turns logits into classes. Knows nothing of files and volumes.
"""
