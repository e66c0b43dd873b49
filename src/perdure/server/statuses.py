"""From an `RpcError` to gRPC's status: code, message, and the typed detail in `grpc-status-details-bin`."""

from __future__ import annotations

import logging
from typing import NoReturn

import grpc
from grpc.aio import ServicerContext
from temporalio.api.common.v1 import GrpcStatus

from perdure.model.ids import uuid4_text
from perdure.model.rpc import RpcError

logger = logging.getLogger("perdure.server")

DETAILS_KEY = "grpc-status-details-bin"
CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def details_of(error: RpcError) -> bytes:
    """A serialised `google.rpc.Status` (`GrpcStatus` is the same message under another name), with the typed detail first."""
    status = GrpcStatus(code=error.code, message=error.message)
    if error.detail is not None:
        status.details.add().Pack(error.detail)
    return status.SerializeToString()


async def refuse(context: ServicerContext[bytes, bytes], error: RpcError) -> NoReturn:
    """Ends the call with the error's status."""
    await context.abort(CODES[error.code], error.message, ((DETAILS_KEY, details_of(error)),))


async def fail(context: ServicerContext[bytes, bytes], method: str, error: Exception) -> NoReturn:
    """Ends the call with INTERNAL, and a reference under which the log has the cause: clients take UNKNOWN for a lost connection."""
    reference = uuid4_text()
    logger.error("%s failed; reference %s", method, reference, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, f"{method} failed in the server; its log says why under reference {reference}")
