"""Nexus: operations that a workflow starts on a named endpoint, behind which workers serve them."""
