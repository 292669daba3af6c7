"""Built-in engines of pass 1, one file per model family."""
