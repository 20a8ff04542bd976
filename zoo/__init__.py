"""Place of the generative models; this release ships none."""
