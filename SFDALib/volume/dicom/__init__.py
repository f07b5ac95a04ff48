"""DICOM: from the files of a folder to one stack of slices, in order, on one upright grid.

check   a file against its size
frames  what files say of their images (pydicom)
stacks  grouping them, and choosing one
layout  the order of slices, and their grid
pixels  the voxels (GDCM, by SimpleITK)
"""
