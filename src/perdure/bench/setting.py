"""What every workload is given: where its files go, which engine, how much, and where to report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perdure.bench.measurement import Measurement, Stopwatch, percentile

DURABILITY = {"sqlite": "WAL, synchronous=FULL, one fsync per commit group", "memory": "nothing is kept"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """`engine`, `count` and `concurrency` are what the user asked for; None means the workload's own."""

    folder: Path
    engine: str | None = None
    count: int | None = None
    concurrency: int | None = None
    smoke: bool = False
    """A run of seconds that shows that the workload works; its figures mean little."""
    interpreter: dict[str, Any] = field(default_factory=dict[str, Any])
    write: Callable[[Measurement], None]

    def url(self, workload: str) -> str:
        """The engine for one workload: the user's, or SQLite on a fresh file."""
        return self.engine or f"sqlite:///{self.file(workload)}"

    def file(self, workload: str) -> Path:
        return self.folder / f"{workload}.db"

    @property
    def scheme(self) -> str:
        return (self.engine or "sqlite:").partition(":")[0]

    def amount(self, full: int, smoke: int) -> int:
        return self.count or (smoke if self.smoke else full)

    def report(
        self,
        workload: str,
        watch: Stopwatch,
        *,
        count: int,
        concurrency: int = 1,
        times: Sequence[float] = (),
        per_second: float | None = None,
        engine: str | None = None,
        durability: str | None = None,
        **extra: Any,
    ) -> None:
        """Writes one line; `times` are the milliseconds of each operation (the whole run where there is only one)."""
        times = times or [watch.seconds * 1e3]
        self.write(
            Measurement(
                workload=workload,
                engine=engine or self.scheme,
                durability=durability or DURABILITY.get(self.scheme, f"as {self.scheme} is set up"),
                count=count,
                concurrency=concurrency,
                seconds=watch.seconds,
                per_second=count / watch.seconds if per_second is None else per_second,
                p50_ms=percentile(times, 0.50),
                p99_ms=percentile(times, 0.99),
                cpu_seconds=watch.cpu_seconds,
                extra=extra | self.interpreter,
            )
        )
