"""What those who run a server do against abuse, and learn of it."""
