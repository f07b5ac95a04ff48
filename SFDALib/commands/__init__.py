"""The command line's words: a file for each command or two, and those that several share.

Standard library alone until a command computes.
"""
