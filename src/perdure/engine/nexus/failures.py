"""What handlers of Nexus operations say went wrong: their answers as failures of Temporal, and whether to ask again.

Workers of today answer with failures; those of yesterday with errors of Nexus, which carry a failure as JSON.

Easily got wrong: which errors are worth another attempt depends on their type, unless the handler says so itself.
"""

from __future__ import annotations

import json
from typing import Final

from google.protobuf import json_format
from temporalio.api.enums.v1 import NexusHandlerErrorRetryBehavior
from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import Failure as NexusFailure
from temporalio.api.nexus.v1 import HandlerError

_FAILURE: Final = Failure.DESCRIPTOR.full_name
_RETRYABLE: Final = NexusHandlerErrorRetryBehavior.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_RETRYABLE
_NON_RETRYABLE: Final = NexusHandlerErrorRetryBehavior.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_NON_RETRYABLE
_FINAL: Final = frozenset(("BAD_REQUEST", "UNAUTHENTICATED", "UNAUTHORIZED", "NOT_FOUND", "CONFLICT", "NOT_IMPLEMENTED"))
"""Types of errors that another attempt would not cure."""


def is_retryable(failure: Failure) -> bool:
    """Whether a request that failed so is sent again."""
    if not failure.HasField("nexus_handler_failure_info"):
        return not (failure.HasField("application_failure_info") and failure.application_failure_info.non_retryable)
    info = failure.nexus_handler_failure_info
    if info.retry_behavior:
        return info.retry_behavior == _RETRYABLE
    return info.type not in _FINAL


def of_engine(kind: str, message: str) -> Failure:
    """A handler's error that the engine itself found."""
    failure = Failure(message=message)
    failure.nexus_handler_failure_info.type = kind
    return failure


def of_handler(error: HandlerError) -> Failure:
    """A handler's error in the words of Nexus."""
    failure = of_engine(error.error_type, error.failure.message or error.error_type)
    failure.nexus_handler_failure_info.retry_behavior = error.retry_behavior
    if error.HasField("failure"):
        failure.cause.CopyFrom(of_nexus(error.failure))
    return failure


def of_nexus(told: NexusFailure) -> Failure:
    """A failure in the words of Nexus."""
    failure = Failure()
    if told.metadata.get("type") == _FAILURE:
        try:
            json_format.Parse(told.details, failure, ignore_unknown_fields=True)
        except (json_format.ParseError, UnicodeDecodeError):
            failure.Clear()
    if not failure.WhichOneof("failure_info"):
        info = failure.application_failure_info
        info.type = "NexusFailure"
        if told.details or told.metadata:
            payload = info.details.payloads.add()
            payload.metadata["encoding"] = b"json/plain"
            details = told.details.decode(errors="replace")
            payload.data = json.dumps({"metadata": dict(told.metadata), "details": details}).encode()
    failure.message = told.message or failure.message
    failure.stack_trace = told.stack_trace or failure.stack_trace
    if told.HasField("cause") and not failure.HasField("cause"):
        failure.cause.CopyFrom(of_nexus(told.cause))
    return failure
