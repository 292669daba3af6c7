"""Processors for FaceFusion to copy from."""
