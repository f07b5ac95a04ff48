"""A bundle that a test may damage."""

from checked_bundles import bundle

__all__ = ["bundle"]
