"""DICOM: from the files of a folder to one stack of slices, in order, on one upright grid.

check     a file's claims against its size
elements  values of a header's elements
places    where images lie, and the size of their pixels
frames    position, series and size of each image (pydicom)
stacks    grouping the images, and choosing one stack
layout    the order of the slices, and their grid
pixels    the voxels (GDCM, through SimpleITK)
"""
