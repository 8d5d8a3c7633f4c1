"""Flowers drawn from attributes, with captions, in the archive layout of Oxford-102."""

from textbloom.sources.drawn.writing import write

__all__ = ["write"]
