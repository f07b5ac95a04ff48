"""Results in the scene. Works without a main window and knows no widget of the panel.

results    the nodes of one run, found by their roles
placement  a result folder put into the scene, and taken out again
tried      what else the automatic choice tried on an image
tables     report.json as table and plot nodes
colors     colour tables for the uncertainty maps
slices     what the slice views look at
views      layouts: views beside each other, and a plot
layers     what the views show: segmentations, and a map over the image
"""
