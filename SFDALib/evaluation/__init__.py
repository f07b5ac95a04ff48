"""Measures of a segmentation against a reference, and of several against one another.

Knows arrays and SimpleITK; neither models nor methods.

    metrics           overlap, surface distances in mm, volumes in ml
    surface_distance  distances between the surfaces of two masks
    agreement         how far several segmentations agree, and on what
"""
