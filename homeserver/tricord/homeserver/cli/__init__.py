"""The `tricord` command."""
