"""The client: starting workflows, and speaking to those that run."""
