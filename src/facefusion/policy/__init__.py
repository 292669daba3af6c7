"""May we, and who did it: consent, content, provenance. Part of the plan, never a processor."""
