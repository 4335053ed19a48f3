"""Every endpoint as a typed method, grouped by what it is about; `Client` is made of these groups."""
