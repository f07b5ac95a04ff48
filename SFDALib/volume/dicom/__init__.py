"""DICOM: from the files of a folder to one stack of slices, in order, on one upright grid.

``check`` holds a file against its size, ``frames`` reads what files say of their images (pydicom),
``stacks`` groups them and lets one be chosen, ``layout`` puts its slices in order and finds their
grid, ``pixels`` reads the voxels (GDCM, by SimpleITK).
"""
