"""Positions, and waking those who wait for them."""
