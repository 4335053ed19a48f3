"""SQL of the store, a file per group of tables: functions whose first argument is the store."""
