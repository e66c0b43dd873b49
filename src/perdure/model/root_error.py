"""The root of the tree of errors: what every error has, and how it travels between processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from perdure.model.status import StatusCode

__all__ = ["PerdureError"]


def _rebuild(cls: type[PerdureError], args: tuple[Any, ...], facts: dict[str, Any], cause: BaseException | None) -> PerdureError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    error.__cause__ = cause
    return error


class PerdureError(Exception):
    """Something in perdure went wrong."""

    code: ClassVar[str] = "perdure"
    status: ClassVar[StatusCode] = StatusCode.UNKNOWN
    _exit: ClassVar[int | None] = None

    def __init_subclass__(cls, *, code: str | None = None, status: StatusCode | None = None, exit_code: int | None = None) -> None:
        super().__init_subclass__()
        if code is not None:
            cls.code = code
        if status is not None:
            cls.status = status
        if exit_code is not None:
            cls._exit = exit_code

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or type(self).__name__).partition("\n")[0])

    @property
    def message(self) -> str:
        """The sentence, without the facts."""
        return str(self.args[0]) if self.args else ""

    @property
    def http_status(self) -> int:
        """The HTTP status that a gateway answers with."""
        return self.status.http

    @property
    def exit_code(self) -> int:
        """The exit code of the command line."""
        return self.status.exit_code if self._exit is None else self._exit

    def __reduce__(self) -> tuple[Callable[..., PerdureError], tuple[Any, ...]]:
        facts = {name: value for name, value in self.__dict__.items() if not name.startswith("__")}
        return _rebuild, (type(self), self.args, facts, self.__cause__)
