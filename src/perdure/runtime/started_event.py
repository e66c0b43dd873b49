"""What a run keeps of its first event: it is asked for rarely, and the message itself would keep the whole history in memory."""

from __future__ import annotations

from temporalio.api.history.v1.message_pb2 import WorkflowExecutionStartedEventAttributes

__all__ = ["encoded_for_keeping"]

INPUT_KEPT_MAX_BYTES = 2048
"""An event that is no larger is kept as it is. Of a larger one the input is left out: nobody reads it again."""


def encoded_for_keeping(started: WorkflowExecutionStartedEventAttributes) -> bytes:
    """The event's attributes, encoded, without a large input."""
    encoded = started.SerializeToString()
    if len(encoded) <= INPUT_KEPT_MAX_BYTES:
        return encoded
    own = WorkflowExecutionStartedEventAttributes.FromString(encoded)
    own.ClearField("input")
    return own.SerializeToString()
