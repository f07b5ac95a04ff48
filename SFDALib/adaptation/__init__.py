"""The code of the methods that update weights, and of ``none`` and InTEnt: one file each.

A method's options and description are in ``methods``; a method that trains is a subclass of
``common.recipe.Recipe``, which ``common.loop`` runs. Knows nothing of Slicer, files and folders.
"""
