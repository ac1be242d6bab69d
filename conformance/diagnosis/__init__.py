"""Why a check failed: what would have to be other for the answer to be right, and what shows it where nothing is."""
