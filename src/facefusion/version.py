"""The version of the package, and what it is called on package indexes."""

__version__ = "0.1.0"
DISTRIBUTION = "facefusion-studio"
"""The name to install; what is imported and the command are called ``facefusion``, which is another's name there."""
