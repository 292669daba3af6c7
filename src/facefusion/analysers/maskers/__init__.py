"""Maskers: which pixels of a crop count."""
