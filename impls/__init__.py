"""Implementations of a network: emitters, the sources that they generate, and one runner a framework."""
