"""What can be asked for: every method, its options, what it needs and what it returns.

Standard library alone; the panel lists methods before torch is installed.
"""
