"""The `perdure` command: reads arguments and the environment, calls the floors below, prints."""
