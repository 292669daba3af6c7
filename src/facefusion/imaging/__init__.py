"""Pixel arithmetic: pure functions of arrays. The home of OpenCV."""
