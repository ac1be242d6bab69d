"""Networks that nobody here wrote, as runners beside the generated sources."""
