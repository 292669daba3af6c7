"""Face swappers: the source's face on the target's head."""
