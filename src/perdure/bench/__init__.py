"""The workloads of `perdure bench`, each on the public names only, so that a user could have written it."""
