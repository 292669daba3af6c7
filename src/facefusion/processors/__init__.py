"""Built-in processors of pass 2: one folder per capability, one file per model family."""
