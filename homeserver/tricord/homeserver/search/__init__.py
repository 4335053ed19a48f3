"""Searching what was said, in any language."""
