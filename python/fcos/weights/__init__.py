"""Weights of other programs: read, recognised and converted."""
