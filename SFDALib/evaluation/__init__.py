"""Measures of a segmentation against a reference, and of several against one another.

metrics           all measures of a class, and their means over cases
surface_distance  distances between the surfaces of two masks, and what is derived from them
agreement         how far several segmentations agree, and their consensus

Knows arrays and SimpleITK; neither models nor methods.

    metrics           overlap, surface distances in mm, volumes in ml
    surface_distance  distances between the surfaces of two masks
    agreement         how far several segmentations agree, and on what
"""
