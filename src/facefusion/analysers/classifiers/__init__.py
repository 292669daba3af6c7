"""Classifiers: age, gender, appearance."""
