"""Measures of generated pictures, each with its floor and ceiling."""
