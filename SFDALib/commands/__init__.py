"""The command line's words: those that several commands share, and commands of a file each.

Standard library alone until a command computes.
"""
