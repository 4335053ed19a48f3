"""What changed for a user between two positions, for every kind of sync."""
