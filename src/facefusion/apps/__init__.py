"""The doors: command line, library script, demonstration. Thin layers over `facefusion.pipeline`."""
