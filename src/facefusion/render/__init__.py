"""Pass 2: frames and `Tracks` in, changed frames out."""
