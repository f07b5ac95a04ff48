"""An image with its geometry: never one without the other.

Owns reading, writing and conforming to a model's grid and back. Knows no models and no methods.
Coordinates are LPS millimetres, as in SimpleITK; arrays are ``(C, K, J, I)`` on the input's grid
and ``(C, k, j, i)`` on a model's.

    geometry       size, spacing, origin and direction of a grid
    image_file     an image on disk, opened once
    opened_file    a file whose header was checked
    formats        which endings can be read
    reading        what the user states of an image
    nifti          NIfTI-1
    nifti_header   its header, read strictly
    nrrd_meta      NRRD and MetaImage
    text_header    their headers, read strictly
    pictures       PNG and JPEG
    dicom          series and single files
    itk            SimpleITK's readers
    refusals       what every reader refuses
    input_spec     what a model expects of its input
    normalisation  how intensities are to be scaled
    intensity      scaling them
    orientation    permuting, reversing, cropping axes
    resample       resampling over the same extent
    regrid         onto another image's grid
    conform        to a model's grid, and back
    labelling      from probabilities to labels
    label_rules    how a voxel's label is decided
    cleaning       cleaning of labels, as a model describes it
    apply_cleaning  carrying it out
    components     dropping components of improbable size and place
    shape          the shape of structures, wherever they lie
    smoothing      averaging probabilities across slices
"""
