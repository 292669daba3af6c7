"""Face mesh models."""
