"""The result folder: every file that a run leaves behind, written so that it is whole or absent.

Owns the files' names' form, their metadata and their atomic appearance. It computes nothing, knows
no method and no network, and takes what it writes as arrays, geometries and plain dictionaries.
Importing ``folder`` or ``report`` needs the standard library alone; ``images`` brings SimpleITK,
the pictures (``canvas``, ``overview``, ``comparison``) matplotlib.
"""
