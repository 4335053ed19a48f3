"""Push rules and notification counts."""
