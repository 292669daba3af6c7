"""Pixels and sound in and out: the home of PyAV and Pillow."""
