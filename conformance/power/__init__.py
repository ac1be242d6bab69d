"""Tests the tester: faults planted on purpose, each of which the suite must catch at the right tap."""
