"""Optical flow engines."""
