"""The widgets. A section a file; each shows the parameters and writes what the user does into them.

panel    the whole: parameters, the run and its timer, what happens when the scene closes
input    image and source model
method   method and its options
forms    a form made from a method's options
device   where to compute, the estimate, the packages
results  the run that is shown: views, overlays, samples, table, report
"""
