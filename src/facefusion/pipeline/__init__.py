"""The order of things: plan (every user error before the first frame), run, report progress."""
