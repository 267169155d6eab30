"""Faces -> a model."""
