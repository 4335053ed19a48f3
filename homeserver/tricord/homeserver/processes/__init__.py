"""Several processes that serve as one: one that watches over them, and those that serve."""
