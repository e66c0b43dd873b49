"""The process that the test of deliveries kills: an engine on a file, and workflows that do something to each other.

`family_child.py FILE`. It ends by itself when every one of them stands as it should.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from scripted_family import ALL_DONE, Worker, all_stand, start_all

from perdure.engine import open_engine
from perdure.storage import SQLiteStorage


async def main(path: str) -> None:
    engine = await open_engine(SQLiteStorage(path))
    service = engine.frontend(in_process=True)
    worker = Worker(service)
    print("ready", flush=True)
    await start_all(service)
    while not all_stand(engine.storage, ALL_DONE):
        await asyncio.sleep(0.02)
    await worker.stop()
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
