"""The widgets. A section a file; each shows the parameters and writes what the user does into them.

panel     the whole: parameters, the run and its timer, what happens when the scene closes
services  what the panel uses beside its widgets, given to it
section   the base class of the sections
input     image and source model
method    method and its options
device    where to compute, the estimate, the packages
weights   weights without a description
run       what stays in sight: button, progress, message, verdict
results   the run that is shown: views, plots, report; with
volumes   its table of structures
tried     what else was tried on its image
saving    what the user saves of it
maps      its maps over the image, and its samples
forms     rows of widgets made from data
more      a line that unfolds

A new map needs nothing here: its row is made from ``SFDALib/results/layout.py``.

A further option of a run that is on or off is a check box in the .ui's ``runOptionsWidget`` with
the property SlicerParameterName, a field of that name in ``parameters.Parameters``, and an argument
in ``Panel.request``.
"""
