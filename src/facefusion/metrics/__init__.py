"""How good: figures that are measured, each with what it can and cannot tell."""
