"""The sections of a delta: each file reads its own tables, and what memory has of them."""
