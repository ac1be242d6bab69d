"""What the paper says of its parts, held against small runs: reported whether it agrees or not, and never a test."""
