"""Ready-made shapes of durable work, built on perdure's public names only."""
