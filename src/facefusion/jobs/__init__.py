"""The memory: what was asked for, how far it is, and what is left to do after anything breaks."""
