"""A demonstration: two homeservers on one machine, and people on them."""
