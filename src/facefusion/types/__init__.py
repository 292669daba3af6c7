"""What flows: frozen types of numpy arrays and numbers. Nothing here reads, writes or computes pixels."""
