"""Painters: what decides which strokes to make, given a photo."""
