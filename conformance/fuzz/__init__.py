"""Fuzzing: networks at random through every framework; failures shrink to small specs that are replayed."""
