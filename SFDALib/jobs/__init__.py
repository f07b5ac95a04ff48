"""A job: its description, its progress events, and carrying it out. Knows nothing of Slicer.

``request`` and ``events`` need the standard library alone, so that a panel can describe a job and
follow it before anything else is installed.
"""
