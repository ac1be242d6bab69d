"""Generated sources that are committed to be read. Never edited by hand; see impls/generate.py."""
