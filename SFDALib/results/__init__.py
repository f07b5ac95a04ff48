"""The result folder: every file that a run leaves behind, written so that it is whole or absent.

layout      what a result folder holds: name, role, title, unit and window of every file
folder      folders and files that appear when they are complete
report      report.json
images      segmentations and maps as NRRD
slices      which slices and which part of an image a picture shows
drawing     what the pictures are drawn with
overview    the picture of one result
comparison  the picture of several methods' results

Computes nothing and knows no method and no network: what it writes comes as arrays, geometries and
plain dictionaries. ``layout``, ``folder`` and ``report`` need the standard library alone;
``images`` imports SimpleITK, the pictures matplotlib.
"""
