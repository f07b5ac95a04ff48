"""The methods that update weights: one file each. They know nothing of Slicer, files and folders.

What two of them share: ``patches`` (the target images as batches), and ``watch`` (the label-free
criterion, collapse, and the best state passed through).
"""
