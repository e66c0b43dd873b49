"""The orders of the demo, run in this process, and their histories as lines to print."""
