"""Measures of a segmentation against a reference, and of several against one another.

Knows arrays and SimpleITK; neither models nor methods.
"""
