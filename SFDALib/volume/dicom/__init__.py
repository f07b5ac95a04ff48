"""DICOM: from the files of a folder to one stack of slices, in order, on one upright grid.

``check`` compares stated sizes with the file's size, ``frames`` reads the headers (pydicom),
``stacks`` groups images and chooses a stack, ``layout`` orders its slices and finds their grid,
``pixels`` reads the voxels (GDCM, by SimpleITK).
"""
