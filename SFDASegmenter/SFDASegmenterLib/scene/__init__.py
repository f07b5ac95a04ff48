"""Results in the scene. Works without a main window and knows no widget.

results   the nodes of one run, placed, found again and removed
tables    report.json as table and plot nodes
colors    colour tables for the uncertainty maps
layers    what the slice views show
"""
