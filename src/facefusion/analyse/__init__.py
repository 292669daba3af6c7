"""Pass 1: frames in, `Tracks` out. Detect, follow, link, smooth."""
