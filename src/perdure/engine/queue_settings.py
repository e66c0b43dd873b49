"""What is set of task queues: how fast they give tasks away, and the weights of fairness keys.

By operators, whose word goes first, or by workers with their polls. The rule a newcomer would get wrong: a queue that versions of a
deployment poll is several in truth, and what is set holds for all of them together: they share one rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from temporalio.api.enums.v1 import RateLimitSource

from perdure.engine.backlog import WEIGHT_MAX, WEIGHT_MIN
from perdure.engine.rate_limits import UNLIMITED, FairLimit, RateLimit
from perdure.engine.versioned_queues import MARK, parts
from perdure.model.clock import Clock

if TYPE_CHECKING:
    from perdure.engine.matching import Matching, QueueKey, TaskQueue

SAID_MAX: Final = 10_000
"""Queues of which what workers said is remembered; beyond, all are forgotten until the next poll says it again."""


class QueueSettings:
    """Of all queues, by the names that clients and workers use."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._limits: dict[QueueKey, RateLimit | FairLimit] = {}
        self._said: dict[QueueKey, RateLimit] = {}
        self._weights: dict[QueueKey, Mapping[str, float]] = {}

    def apply(self, queue: TaskQueue) -> None:
        """Puts in force what is set of a queue."""
        key = queue.key._replace(name=queue.key.name.partition(MARK)[0])
        queue.limit = self._limits.get(key) or self._said.get(key)
        queue.weights = self._weights.get(key, {})

    def forget(self, matching: Matching, key: QueueKey) -> None:
        """A queue is no longer used: what its workers said goes with the last of its versions."""
        if self._said:
            named = key._replace(name=key.name.partition(MARK)[0])
            if named in self._said and not parts(matching, named):
                del self._said[named]

    def source(self, key: QueueKey) -> RateLimitSource.ValueType:
        """Who says how fast a queue may give tasks away."""
        of_operator = self._limits.get(key)
        if of_operator is not None and of_operator.rate != UNLIMITED:
            return RateLimitSource.RATE_LIMIT_SOURCE_API
        said = of_operator is None and key in self._said
        return RateLimitSource.RATE_LIMIT_SOURCE_WORKER if said else RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM

    def set(self, key: QueueKey, whole: float | None, each: float | None, weights: Mapping[str, float]) -> None:
        """An operator's settings: rates in tasks a second, of the queue and of each fairness key; None: not set.

        What has been let through already counts on.
        """
        now, before = self._clock.now(), self._limits.pop(key, None)
        limit = None
        if whole is not None:
            limit = before.whole if isinstance(before, FairLimit) else before
            if limit is None:
                limit = RateLimit(whole, now)
            limit.change(whole, now)
        if each is not None:
            self._limits[key] = FairLimit(limit, each)
        elif limit is not None:
            self._limits[key] = limit
        self._weights.pop(key, None)
        if weights:
            self._weights[key] = {name: min(max(weight, WEIGHT_MIN), WEIGHT_MAX) for name, weight in weights.items()}

    def say(self, key: QueueKey, rate: float) -> bool:
        """A worker says how many tasks a second its queue may give away: the last word holds, whoever says it. Whether that is new."""
        said = self._said.get(key)
        if said is not None and said.rate == rate:
            return False
        if said is not None:
            said.change(rate, self._clock.now())
            return True
        if len(self._said) >= SAID_MAX:
            self._said.clear()
        self._said[key] = RateLimit(rate, self._clock.now())
        return True


def put_in_force(matching: Matching, key: QueueKey) -> None:
    """After what is set of a queue has changed."""
    for queue in parts(matching, key):
        matching.settings.apply(queue)
        matching.pump(queue)
