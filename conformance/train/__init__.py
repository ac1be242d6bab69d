"""Real training: every framework by the same recipe, from the same weights, on the same batches."""
