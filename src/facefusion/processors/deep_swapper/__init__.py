"""One-person swappers."""
