"""A file -> timed frames, and the way back."""
