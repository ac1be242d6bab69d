"""How fast implementations are: timing, the machine's limits, statistics and reports."""
