"""`python -m perdure.cli`: the same as `perdure`."""

from perdure.cli.main import main

main()
