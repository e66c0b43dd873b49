"""How a joiner and an owner find out whether they understand each other, before anything else is said.

They must be of one version: whoever joins may have to take the file over.
"""

from __future__ import annotations

import hmac
import json
from typing import NamedTuple

WIRE_VERSION = 2
"""Of everything that is said over the socket; the first byte that each side sends."""
HANDSHAKE_SECONDS = 10.0

OTHER_PROTOCOL = "speaks another version of the protocol between processes: use the same version of perdure"


class Refusal(NamedTuple):
    """Why a joiner is not let in."""

    reason: str
    """Completes "process 17 has the file open and …"."""
    forever: bool
    """As long as this one is the owner."""

    def encoded(self) -> bytes:
        return json.dumps(self._asdict()).encode()

    @classmethod
    def decoded(cls, data: bytes) -> Refusal:
        try:
            said = json.loads(data)
            return cls(str(said["reason"]), bool(said["forever"]))
        except (ValueError, KeyError, TypeError):
            return cls(OTHER_PROTOCOL, forever=True)


class Greeting(NamedTuple):
    """What both must agree in."""

    perdure: str
    schema: int

    def hello(self, secret: str) -> bytes:
        """What a joiner says."""
        return json.dumps({**self._asdict(), "secret": secret}).encode()

    def judge(self, hello: bytes, secret: str) -> Refusal | None:
        """The owner's answer to a joiner's hello; None: it is let in."""
        try:
            said = json.loads(hello)
            joiner, shown = Greeting(str(said["perdure"]), int(said["schema"])), str(said["secret"])
        except (ValueError, KeyError, TypeError):
            return Refusal(OTHER_PROTOCOL, forever=True)
        if not hmac.compare_digest(shown.encode(), secret.encode()):
            return Refusal("has just taken it over: try again", forever=False)
        if self.perdure != joiner.perdure:
            return Refusal(f"runs perdure {self.perdure}, and this is {joiner.perdure}: use the same version", forever=True)
        if self.schema != joiner.schema:
            return Refusal(f"knows schema {self.schema}, and this process {joiner.schema}: use the same version of perdure", forever=True)
        return None
