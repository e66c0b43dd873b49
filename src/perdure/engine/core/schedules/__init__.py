"""Schedules, without I/O: which times a spec names, and what a schedule does when."""
