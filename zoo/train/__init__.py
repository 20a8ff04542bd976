"""Training of the zoo: one resumable loop and a file per model."""
