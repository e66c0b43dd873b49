"""The syntax of the query language: the part of an SQL SELECT after WHERE, GROUP BY and ORDER BY included.

    query   = [or] ["GROUP BY" name {"," name}] ["ORDER BY" name ["ASC" | "DESC"] {"," ...}]
    or      = and {"OR" and}
    and     = not {"AND" not}
    not     = "NOT" not | "(" or ")" | test
    test    = name ("=" | "!=" | "<>" | "<" | "<=" | ">" | ">=") value | name ["NOT"] "IN" "(" value {"," value} ")"
            | name ["NOT"] "BETWEEN" value "AND" value | name ["NOT"] "STARTS_WITH" value | name "IS" ["NOT"] "NULL"
    value   = text in ' or " | number | "TRUE" | "FALSE"
    name    = word | anything in `

Decides nothing about names and values. The rule a newcomer would get wrong: AND binds tighter than OR, and the AND of BETWEEN is
neither; inside quotes a quote is doubled or follows a backslash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

TEXT_MAX: Final = 64 * 1024
"""Characters of a query."""
TESTS_MAX: Final = 500
"""Comparisons in a query; each may cost a look-up."""
VALUES_MAX: Final = 1000
"""In one list."""
NESTING_MAX: Final = 40
"""Parentheses and NOTs inside each other."""

Literal: TypeAlias = str | int | float | bool


class BadQuery(Exception):
    """A query that cannot be answered; says why."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A name compared: `operator` in upper case, as in the grammar, and `!=` for `<>`."""

    name: str
    operator: str
    values: tuple[Literal, ...] = ()


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Syntax, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Syntax, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Syntax


Syntax: TypeAlias = Comparison | And | Or | Not


@dataclass(frozen=True, slots=True)
class Parsed:
    """A whole query."""

    where: Syntax | None
    group_by: tuple[str, ...] = ()
    order_by: tuple[str, ...] = ()


_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|''|\\.)*'|"(?:[^"\\]|""|\\.)*")
      | (?P<number>[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)(?![\w.]))
      | (?P<quoted>`(?:[^`]|``)+`)
      | (?P<word>[^\W\d][\w.$@:]*)
      | (?P<sign><=|>=|<>|!=|[=<>(),])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}
_COMPARING: Final = frozenset(("=", "!=", "<", "<=", ">", ">="))
_RESERVED: Final = frozenset(
    ("AND", "OR", "NOT", "IN", "BETWEEN", "STARTS_WITH", "IS", "NULL", "TRUE", "FALSE", "GROUP", "ORDER", "LIMIT", "LIKE"),
)


class _Token:
    __slots__ = ("kind", "position", "text", "value")

    def __init__(self, kind: str, text: str, position: int) -> None:
        self.kind = kind
        self.position = position
        self.text = text
        self.value: Literal = text
        if kind == "word" and text.upper() in _RESERVED:
            self.kind, self.value = "keyword", text.upper()
        elif kind == "text":
            self.value = _unquoted(text)
        elif kind == "number":
            self.value = int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
        elif kind == "quoted":
            self.kind, self.value = "word", text[1:-1].replace("``", "`")
        elif text == "<>":
            self.value = "!="

    def is_(self, *values: str) -> bool:
        return self.kind in ("keyword", "sign") and self.value in values


def parse(text: str) -> Parsed:
    """A query as a tree.

    Raises:
        BadQuery: it is none.
    """
    if len(text) > TEXT_MAX:
        raise BadQuery(f"malformed SQL query: longer than {TEXT_MAX} characters")
    return _Parser(_tokens(text)).query()


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            rest = text[position:].lstrip()
            raise BadQuery(f"malformed SQL query: syntax error at position {len(text) - len(rest) + 1} near {rest[:20]!r}")
        tokens.append(_Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
        position = found.end()
    return [*tokens, _Token("end", "", end)]


def _unquoted(text: str) -> str:
    quote = text[0]

    def plain(found: re.Match[str]) -> str:
        return quote if found[0] == quote * 2 else _ESCAPES.get(found[0][1], found[0][1])

    return re.sub(rf"{quote}{quote}|\\.", plain, text[1:-1], flags=re.DOTALL)


class _Parser:
    """Goes through the tokens once."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._tests = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def _took(self, *values: str) -> bool:
        if self._next.is_(*values):
            self._at += 1
            return True
        return False

    def _demand(self, value: str) -> None:
        if not self._took(value):
            raise self._wrong()

    def _wrong(self) -> BadQuery:
        token = self._next
        near = f" near {token.text!r}" if token.text else ""
        return BadQuery(f"malformed SQL query: syntax error at position {token.position + 1}{near}")

    def query(self) -> Parsed:
        where = None if self._next.kind == "end" or self._next.is_("GROUP", "ORDER", "LIMIT") else self._or(0)
        group_by = self._names("GROUP")
        order_by = self._names("ORDER")
        if self._next.is_("LIMIT"):
            raise BadQuery("operation is not supported: 'LIMIT' clause")
        if self._next.kind != "end":
            raise self._wrong()
        return Parsed(where, group_by, order_by)

    def _names(self, clause: str) -> tuple[str, ...]:
        if not self._took(clause):
            return ()
        if self._next.text.upper() != "BY":
            raise self._wrong()
        self._take()
        names = [self._name()]
        self._direction()
        while self._took(","):
            names.append(self._name())
            self._direction()
        return tuple(names)

    def _direction(self) -> None:
        if self._next.kind == "word" and self._next.text.upper() in ("ASC", "DESC"):
            self._take()

    def _or(self, depth: int) -> Syntax:
        parts = [self._and(depth)]
        while self._took("OR"):
            parts.append(self._and(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self, depth: int) -> Syntax:
        parts = [self._not(depth)]
        while self._took("AND"):
            parts.append(self._not(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _not(self, depth: int) -> Syntax:
        if depth > NESTING_MAX:
            raise BadQuery(f"malformed SQL query: more than {NESTING_MAX} levels of parentheses and NOT")
        if self._took("NOT"):
            return Not(self._not(depth + 1))
        if self._took("("):
            inner = self._or(depth + 1)
            self._demand(")")
            return inner
        return self._test()

    def _test(self) -> Syntax:
        self._tests += 1
        if self._tests > TESTS_MAX:
            raise BadQuery(f"malformed SQL query: more than {TESTS_MAX} comparisons")
        name = self._name()
        token = self._next
        if token.kind == "sign" and token.value in _COMPARING:
            self._take()
            return Comparison(name, str(token.value), (self._value(),))
        if self._took("IS"):
            return self._is(name)
        negated = "NOT " if self._took("NOT") else ""
        if self._took("IN"):
            return Comparison(name, f"{negated}IN", self._list())
        if self._took("BETWEEN"):
            low = self._value()
            self._demand("AND")
            return Comparison(name, f"{negated}BETWEEN", (low, self._value()))
        if self._took("STARTS_WITH"):
            return Comparison(name, f"{negated}STARTS_WITH", (self._value(),))
        return self._no_test(token)

    def _no_test(self, token: _Token) -> Syntax:
        if self._next.is_("LIKE"):
            raise BadQuery("operation is not supported: 'LIKE' operator")
        if token.is_("("):
            raise BadQuery("operation is not supported: function expression")
        if token.kind == "end" or token.is_("AND", "OR", ")"):
            raise BadQuery("invalid expression: incomplete expression")
        raise self._wrong()

    def _is(self, name: str) -> Comparison:
        operator = "IS NOT NULL" if self._took("NOT") else "IS NULL"
        if not self._took("NULL"):
            raise BadQuery("invalid expression: 'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'")
        return Comparison(name, operator)

    def _list(self) -> tuple[Literal, ...]:
        self._demand("(")
        values = [self._value()]
        while self._took(","):
            values.append(self._value())
        self._demand(")")
        if len(values) > VALUES_MAX:
            raise BadQuery(f"malformed SQL query: more than {VALUES_MAX} values in a list")
        return tuple(values)

    def _name(self) -> str:
        if self._next.kind != "word":
            raise self._wrong()
        return str(self._take().value)

    def _value(self) -> Literal:
        token = self._next
        if token.kind in ("text", "number"):
            return self._take().value
        if token.is_("TRUE", "FALSE"):
            return self._take().value == "TRUE"
        if token.kind == "word":
            hint = f"did you forget to quote {token.text!r}?"
            raise BadQuery(f"operation is not supported: column name on the right side of comparison expression ({hint})")
        if token.is_("NULL"):
            raise BadQuery("invalid expression: unexpected value type NULL; use IS NULL")
        raise self._wrong()
