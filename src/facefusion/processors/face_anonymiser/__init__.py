"""Hides who somebody is: a synthetic face, or a patch that shows less."""
