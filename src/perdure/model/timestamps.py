"""Instants as text: RFC 3339, with whole nanoseconds."""

from __future__ import annotations

import re
from datetime import datetime

_FORM = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def rfc3339_ns(text: str) -> int:
    """Nanoseconds since the epoch, of an instant with its offset from UTC.

    Raises:
        ValueError: it is no such instant.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no instant of RFC 3339")
    day, time, fraction, offset = found.groups()
    whole = datetime.fromisoformat(f"{day}T{time}{'+00:00' if offset in 'Zz' else offset}") - _EPOCH
    return (whole.days * 86_400 + whole.seconds) * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))
