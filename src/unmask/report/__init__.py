"""Predictions -> pages for people: a report a video, an index, and a check of a report."""
