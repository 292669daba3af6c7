"""Identifiers: who a face is like."""
