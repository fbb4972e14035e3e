"""The platform's proof about itself: what was served, recomputed from the log."""
