"""PostgreSQL, driven by trio: connections, pool, embedded server, migrations, and SQL in functions."""
