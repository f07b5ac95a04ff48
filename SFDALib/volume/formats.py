"""The image formats that can be read, by the endings of file names (standard library alone)."""

from __future__ import annotations

NRRD = (".nrrd", ".nhdr")
METAIMAGE = (".mha", ".mhd")
NIFTI = (".nii", ".nii.gz")
JPEG = (".jpg", ".jpeg")
PNG = (".png",)
DICOM = ".dcm"  # optional: DICOM files are recognised by their content, too
SUFFIXES = (*NRRD, *METAIMAGE, *NIFTI, *JPEG, *PNG)  # of single files
FORMATS = "NRRD, NIfTI, MetaImage, PNG, JPEG, a DICOM file or a folder with one DICOM series"
