"""Data sets of the zoo in their official layouts."""
