"""Face enhancers, one file per model family."""
