"""Proves the query language: what is printed is parsed back, errors say what is wrong, and a query finds the same runs everywhere."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.engine.core.search_attributes import BOOL, DATETIME, DOUBLE, INT, KEYWORD, KEYWORD_LIST, TEXT, type_name
from perdure.engine.indexing import stored_name, tokens
from perdure.engine.visibility.durations import duration_ns
from perdure.engine.visibility.query import read_query
from perdure.engine.visibility.syntax import And, BadQuery, Comparison, Literal, Not, Or, Parsed, Syntax, parse
from perdure.model.rpc import RpcError, StatusCode
from perdure.model.timestamps import rfc3339_ns
from perdure.storage import MemoryStorage, SQLiteStorage, WorkflowStorage
from perdure.storage.conformance.rows import row, run_id
from perdure.storage.contract import RunWrite, Transaction, VisibilityRow
from perdure.storage.run_queries import All, RunQuery, SearchValue, encoded

CUSTOM = {
    "Name": KEYWORD,
    "Tags": KEYWORD_LIST,
    "Words": TEXT,
    "Count": INT,
    "Rate": DOUBLE,
    "Done": BOOL,
    "Seen": DATETIME,
    "odd name": KEYWORD,
}

# --- printing and parsing

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
literals: st.SearchStrategy[Literal] = st.one_of(texts, st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
names = st.sampled_from([*CUSTOM, "WorkflowId", "weird`name", "and"])


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    operator = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "IN", "BETWEEN", "STARTS_WITH", "IS NULL", "IS NOT NULL"]))
    if operator in ("IN", "BETWEEN", "STARTS_WITH") and draw(st.booleans()):
        operator = f"NOT {operator}"
    count = {"IN": draw(st.integers(1, 4)), "BETWEEN": 2, "NULL": 0}.get(operator.split()[-1], 1)
    return Comparison(draw(names), operator, tuple(draw(st.lists(literals, min_size=count, max_size=count))))


def _joined(parts: st.SearchStrategy[Syntax]) -> st.SearchStrategy[Syntax]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return st.one_of(several.map(And), several.map(Or), parts.map(Not))


trees: st.SearchStrategy[Syntax] = st.recursive(comparisons(), _joined, max_leaves=12)


def printed(syntax: Syntax) -> str:
    if isinstance(syntax, Not):
        return f"NOT ({printed(syntax.part)})"
    if isinstance(syntax, (And, Or)):
        return f" {type(syntax).__name__.upper()} ".join(f"({printed(part)})" for part in syntax.parts)
    name = f"`{syntax.name.replace('`', '``')}`"
    values = [printed_literal(value) for value in syntax.values]
    if syntax.operator.endswith("BETWEEN"):
        return f"{name} {syntax.operator} {values[0]} AND {values[1]}"
    if syntax.operator.endswith("IN"):
        return f"{name} {syntax.operator} ({', '.join(values)})"
    return " ".join([name, syntax.operator, *values])


def printed_literal(value: Literal) -> str:
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
    return repr(value)


@settings(max_examples=300, deadline=None)
@given(tree=trees)
def test_what_is_printed_is_parsed_back(tree: Syntax) -> None:
    assert parse(printed(tree)) == Parsed(tree)


A = Comparison("a", "=", (1,))


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("", Parsed(None)),
        ("  ", Parsed(None)),
        (
            "a = 1 OR b = 2 AND NOT c = 3",
            Parsed(Or((Comparison("a", "=", (1,)), And((Comparison("b", "=", (2,)), Not(Comparison("c", "=", (3,)))))))),
        ),
        ("a between 1 and 2 and b is null", Parsed(And((Comparison("a", "BETWEEN", (1, 2)), Comparison("b", "IS NULL"))))),
        ("a <> 'it''s'", Parsed(Comparison("a", "!=", ("it's",)))),
        (r'a = "say \"x\" \\ \n"', Parsed(Comparison("a", "=", ('say "x" \\ \n',)))),
        ("a=-1.5e3", Parsed(Comparison("a", "=", (-1500.0,)))),
        ("a in (true, FALSE)", Parsed(Comparison("a", "IN", (True, False)))),
        ("a not starts_with 'x' group by b", Parsed(Comparison("a", "NOT STARTS_WITH", ("x",)), ("b",))),
        ("group by `b c`, d order by e desc, f", Parsed(None, ("b c", "d"), ("e", "f"))),
    ],
)
def test_the_grammar(text: str, parsed: Parsed) -> None:
    assert parse(text) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("WorkflowId = ", "syntax error at position 13"),
        ("WorkflowId 'x'", "syntax error at position 12"),
        ("WorkflowId = 'x", "syntax error at position 14"),
        ("(WorkflowId = 'x'", "syntax error at position 18"),
        ("WorkflowId = 'x')", r"syntax error at position 17 near '\)'"),
        ("WorkflowId = 'x' AND", "syntax error"),
        ("WorkflowId", "invalid expression: incomplete expression"),
        ("length(WorkflowId) = 3", "operation is not supported: function expression"),
        ("WorkflowId LIKE 'x%'", "operation is not supported: 'LIKE' operator"),
        ("WorkflowId = x", r"column name on the right side of comparison expression \(did you forget to quote 'x'\?\)"),
        ("WorkflowId IS TRUE", "'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'"),
        ("WorkflowId = NULL", "use IS NULL"),
        ("WorkflowId = 'x' LIMIT 5", "operation is not supported: 'LIMIT' clause"),
        ("WorkflowId = 'x' ORDER BY StartTime", "operation is not supported: 'ORDER BY' clause"),
        ("GROUP BY ExecutionStatus", "'GROUP BY' clause"),
        ("Nothing = 1", "invalid search attribute: Nothing"),
        ("Count STARTS_WITH 'x'", "operator 'starts_with' not supported for Int type search attribute 'Count'"),
        ("Tags > 'x'", "operator '>' not supported for KeywordList type"),
        ("Words IN ('x')", "operator 'in' not supported for Text type"),
        ("Done BETWEEN true AND false", "cannot do range condition on search attribute 'Done' of type Bool"),
        ("ExecutionStatus > 'Running'", "operator '>' not supported"),
        ("ExecutionStatus = 'Walking'", "invalid ExecutionStatus value 'Walking'"),
        ("ExecutionStatus = 77", "invalid ExecutionStatus value 77"),
        ("StartTime > 'yesterday'", "unable to parse datetime 'yesterday'"),
        ("StartTime > 1.5", r"invalid value type for search attribute StartTime of type Datetime: 1.5 \(type: float64\)"),
        ("ExecutionDuration > 'long'", "invalid duration value for search attribute ExecutionDuration: long"),
        ("WorkflowId = 5", r"invalid value type for search attribute WorkflowId of type Keyword: 5 \(type: int64\)"),
        ("Done = 'true'", "invalid value type for search attribute Done of type Bool"),
        ("Count = true", "invalid value type for search attribute Count of type Int"),
        ("Words = ' -- '", "no tokens found filtering on Text type search attribute Words"),
        ("(" * 60 + "Count = 1" + ")" * 60, "more than 40 levels"),
        (" OR ".join(["Count = 1"] * 501), "more than 500 comparisons"),
        (f"Count IN ({','.join('1' * 1001)})", "more than 1000 values"),
        ("WorkflowId = '" + "x" * 70_000 + "'", "longer than 65536 characters"),
    ],
)
def test_a_query_that_is_none_says_why(text: str, message: str) -> None:
    with pytest.raises(RpcError, match=f"INVALID_ARGUMENT: invalid query: .*{message}") as refused:
        read_query(text, CUSTOM)
    assert refused.value.code is StatusCode.INVALID_ARGUMENT


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=40) | st.text(alphabet="'\"`()=<>! aANDORT_1.5,", max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    with suppress(BadQuery):
        assert isinstance(parse(text), Parsed)


# --- what is found


def values(number: int) -> dict[str, list[Any]]:
    """Of run `number`, by attribute; some are absent."""
    found: dict[str, list[Any]] = {
        "Name": ["", "ann", "bob", "ann-marie", "Ω"][number % 5 : number % 5 + 1],
        "Tags": ["red", "blue", "green"][: number % 4],
        "Words": [["The quick fox", "a lazy dog", "fox & dog"][number % 3]] if number % 4 else [],
        "Count": [number - 6] if number % 3 else [],
        "Rate": [(number - 6) / 4] if number % 5 else [],
        "Done": [number % 2 == 0] if number % 7 else [],
        "Seen": [1_700_000_000_000_000_000 + number * 3_600_000_000_000] if number % 2 else [],
    }
    return found


def stored(number: int) -> Transaction:
    closed = number % 3 == 0
    shown = VisibilityRow(
        run_id(number),
        "default",
        f"order-{number}",
        "Order" if number % 2 else "Refund",
        "orders",
        number % 7 + 1 if closed else 1,
        number * 1000,
        number * 1000 + 10,
        number * 1000 + 10 + number * 3_600_000_000_000 if closed else None,
        number,
        number * 100,
        b"",
    )
    search = [
        SearchValue(stored_name(name, CUSTOM[name]), encoded(word))
        for name, several in values(number).items()
        for value in several
        for word in (tokens(value) if CUSTOM[name] == TEXT else [value])
    ]
    if number % 4 == 0:
        search.append(SearchValue("ParentWorkflowId:Keyword", b"boss"))
        search.append(SearchValue("RootWorkflowId:Keyword", b"order-1"))
    return Transaction([RunWrite(row(number), 0, 1, b"<start>", visibility=shown, search=list(dict.fromkeys(search)))])


COUNT = 24


def filled(storage: WorkflowStorage) -> WorkflowStorage:
    storage.open()
    storage.commit([stored(number) for number in range(1, COUNT + 1)])
    return storage


def found(storage: WorkflowStorage, text: str) -> set[int]:
    query = RunQuery("default", read_query(text, CUSTOM).condition)
    numbers = {int.from_bytes(shown.run_id[:6], "big") for shown in storage.find_runs(query, None, 1000)}
    assert storage.count_runs(query, None) == ([(None, len(numbers))] if numbers else [])
    return numbers


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = filled(MemoryStorage() if request.param == "memory" else SQLiteStorage(tmp_path_factory.mktemp("runs") / "runs.db"))
    yield made
    made.close()


EVERY = set(range(1, COUNT + 1))
HOUR = 3_600_000_000_000
CASES: list[tuple[str, Any]] = [
    ("", lambda n: True),
    ("WorkflowId = 'order-3'", lambda n: n == 3),
    ("WorkflowId != 'order-3'", lambda n: n != 3),
    ("WorkflowId IN ('order-3', \"order-4\", 'no')", lambda n: n in (3, 4)),
    ("WorkflowId STARTS_WITH 'order-1'", lambda n: str(n).startswith("1")),
    ("WorkflowId NOT STARTS_WITH 'order-1'", lambda n: not str(n).startswith("1")),
    ("WorkflowId > 'order-5' AND WorkflowId <= 'order-8'", lambda n: n in (6, 7, 8)),
    ("WorkflowId BETWEEN 'order-5' AND 'order-7'", lambda n: n in (5, 6, 7)),
    ("WorkflowId NOT BETWEEN 'order-2' AND 'order-8'", lambda n: not "2" <= str(n) <= "8"),
    ("WorkflowType = 'Order' AND TaskQueue = 'orders'", lambda n: n % 2),
    ("ExecutionStatus = 'Running'", lambda n: n % 3 or n % 7 == 0),
    ("ExecutionStatus = 1", lambda n: n % 3 or n % 7 == 0),
    ("ExecutionStatus != 'Running'", lambda n: n % 3 == 0 and n % 7),
    (
        "ExecutionStatus IN ('ContinuedAsNew', 'TimedOut', 'WORKFLOW_EXECUTION_STATUS_FAILED')",
        lambda n: n % 3 == 0 and n % 7 + 1 in (6, 7, 3),
    ),
    ("CloseTime IS NULL", lambda n: n % 3),
    ("CloseTime IS NOT NULL", lambda n: n % 3 == 0),
    ("NOT CloseTime IS NULL", lambda n: n % 3 == 0),
    ("StartTime >= 5000 AND StartTime < '1970-01-01T00:00:00.000009Z'", lambda n: 5 <= n < 9),
    ("StartTime BETWEEN '1970-01-01T00:00:00.000005Z' AND '1970-01-01T02:00:00.000007+02:00'", lambda n: 5 <= n <= 7),
    ("ExecutionTime = 5010", lambda n: n == 5),
    ("ExecutionDuration > '5h'", lambda n: n % 3 == 0 and n > 5),
    ("ExecutionDuration = '03:00:00'", lambda n: n == 3),
    (f"ExecutionDuration <= {6 * HOUR}", lambda n: n % 3 == 0 and n <= 6),
    ("HistoryLength > 9", lambda n: n % 3 == 0 and n > 9),
    ("StateTransitionCount > 9", lambda n: n % 3 == 0 and n > 9),
    ("HistorySizeBytes = 600", lambda n: n == 6),
    (f"RunId = '{'00000000-0007-0000-0000-000000000000'}'", lambda n: n == 7),
    ("RunId = 'no run id'", lambda n: False),
    ("RunId != 'no run id'", lambda n: True),
    ("RunId STARTS_WITH '00000000-000A'", lambda n: n == 10),
    ("RunId > '00000000-0014-0000-0000-000000000000'", lambda n: n > 20),
    ("ParentWorkflowId = 'boss'", lambda n: n % 4 == 0),
    ("ParentWorkflowId IS NULL", lambda n: n % 4),
    ("RootWorkflowId = 'order-1'", lambda n: n % 4 == 0 or n == 1),
    ("RootWorkflowId IN ('order-2', 'order-4')", lambda n: n == 2),
    ("NOT RootWorkflowId = 'order-1'", lambda n: n % 4 and n != 1),
    ("RootWorkflowId IS NULL", lambda n: False),
    ("Name = 'ann'", lambda n: n % 5 == 1),
    ("Name STARTS_WITH 'ann'", lambda n: n % 5 in (1, 3)),
    ("Name = ''", lambda n: n % 5 == 0),
    ("`Name` >= 'b'", lambda n: n % 5 in (2, 4)),
    ("Tags = 'blue'", lambda n: n % 4 >= 2),
    ("Tags != 'blue'", lambda n: n % 4 < 2),
    ("NOT Tags != 'blue'", lambda n: n % 4 >= 2),
    ("Tags IN ('green', 'pink')", lambda n: n % 4 == 3),
    ("Tags NOT IN ('green', 'red')", lambda n: n % 4 == 0),
    ("Tags IS NULL", lambda n: n % 4 == 0),
    ("Words = 'fox'", lambda n: n % 4 and n % 3 != 1),
    ("Words = 'LAZY cat'", lambda n: n % 4 and n % 3 == 1),
    ("Words != 'dog'", lambda n: not (n % 4 and n % 3)),
    ("Count = 0", lambda n: False),
    ("Count = 1", lambda n: n == 7),
    ("Count != 1", lambda n: n % 3 and n != 7),
    ("NOT Count = 1", lambda n: n % 3 and n != 7),
    ("NOT (Count = 1 OR Count IS NULL)", lambda n: n % 3 and n != 7),
    ("Count < -2.5", lambda n: n % 3 and n - 6 < -2.5),
    ("Count >= -2.5", lambda n: n % 3 and n - 6 >= -2.5),
    ("Count = 1.5", lambda n: False),
    ("Count != 1.5", lambda n: n % 3),
    ("Count IN (1, 2.0, 1.5)", lambda n: n in (7, 8)),
    ("Count > 99999999999999999999", lambda n: False),
    ("Count < 99999999999999999999", lambda n: n % 3),
    ("Count > -1e300", lambda n: n % 3),
    ("Count BETWEEN -2 AND 2", lambda n: n % 3 and 4 <= n <= 8),
    ("Rate > 1", lambda n: n % 5 and n > 10),
    ("Rate <= -0.25", lambda n: n % 5 and n <= 5),
    ("Rate = -0.0", lambda n: n == 6),
    ("Rate NOT BETWEEN -1 AND 1", lambda n: n % 5 and not 2 <= n <= 10),
    ("Done = true", lambda n: n % 7 and n % 2 == 0),
    ("Done != true", lambda n: n % 7 and n % 2),
    ("Done < true", lambda n: n % 7 and n % 2),
    ("Seen > '2023-11-15T02:13:20Z'", lambda n: n % 2 and n > 4),
    ("Seen IS NULL OR Seen < '2023-11-15T02:13:20Z'", lambda n: n % 2 == 0 or n < 4),
    ("TemporalNamespaceDivision IS NULL", lambda n: True),
    ("BuildIds = 'x'", lambda n: False),
    ("ChangeVersion IS NULL", lambda n: True),
    ("(WorkflowType = 'Order' OR Tags = 'red') AND NOT (Rate > 0 OR ExecutionStatus = 'Running')", lambda n: n in (3, 6)),
]


@pytest.mark.parametrize(("text", "wanted"), CASES, ids=[text for text, _ in CASES])
def test_a_query_finds(storage: WorkflowStorage, text: str, wanted: Any) -> None:
    assert found(storage, text) == {n for n in EVERY if wanted(n)}


typed_literals = {
    KEYWORD: st.sampled_from(["", "ann", "b", "order-1", "order-12", "Ω"]),
    KEYWORD_LIST: st.sampled_from(["red", "blue", "green", "r"]),
    TEXT: st.sampled_from(["fox", "lazy dog", "QUICK", "none"]),
    INT: st.one_of(st.integers(-8, 20), st.floats(-8, 20), st.sampled_from([2**70, -(2**70), 1e300])),
    DOUBLE: st.one_of(st.integers(-3, 5), st.floats(-3, 5)),
    BOOL: st.booleans(),
    DATETIME: st.one_of(st.integers(0, 30_000), st.sampled_from(["2023-11-15T02:13:20Z", "1970-01-01T00:00:00.000012Z"])),
}
OPERATORS = {
    KEYWORD: ["=", "!=", "<", "<=", ">", ">=", "STARTS_WITH", "NOT STARTS_WITH", "IN", "NOT IN", "BETWEEN", "NOT BETWEEN"],
    KEYWORD_LIST: ["=", "!=", "IN", "NOT IN"],
    TEXT: ["=", "!="],
    BOOL: ["=", "!=", "<", ">=", "IN"],
}
FIELDS = {**CUSTOM, "WorkflowId": KEYWORD, "WorkflowType": KEYWORD, "StartTime": DATETIME, "CloseTime": DATETIME, "HistoryLength": INT}
FIELDS |= {"RootWorkflowId": KEYWORD, "RunId": KEYWORD, "ExecutionDuration": INT}
del FIELDS["odd name"]


@st.composite
def typed_comparisons(draw: st.DrawFn) -> Comparison:
    name = draw(st.sampled_from(sorted(FIELDS)))
    kind = FIELDS[name]
    numbers = ["=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN", "BETWEEN", "NOT BETWEEN"]
    operator = draw(st.sampled_from([*OPERATORS.get(kind, numbers), "IS NULL", "IS NOT NULL"]))
    count = {"IN": draw(st.integers(1, 3)), "BETWEEN": 2, "NULL": 0}.get(operator.split()[-1], 1)
    literal = st.integers(-5, 30 * HOUR) if name == "ExecutionDuration" else typed_literals[kind]
    return Comparison(name, operator, tuple(draw(st.lists(literal, min_size=count, max_size=count))))


typed_trees: st.SearchStrategy[Syntax] = st.recursive(typed_comparisons(), _joined, max_leaves=8)


@pytest.fixture(scope="module")
def both() -> Any:
    with tempfile.TemporaryDirectory() as directory:
        pair = filled(MemoryStorage()), filled(SQLiteStorage(Path(directory) / "runs.db"))
        yield pair
        for each in pair:
            each.close()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=typed_trees)
def test_sql_and_memory_find_the_same(both: tuple[WorkflowStorage, WorkflowStorage], tree: Syntax) -> None:
    memory, sqlite = both
    assert found(memory, printed(tree)) == found(sqlite, printed(tree))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=typed_trees)
def test_not_turns_around_what_is_there(both: tuple[WorkflowStorage, WorkflowStorage], tree: Syntax) -> None:
    """Nothing is found by a query and by its opposite; two NOTs are none."""
    memory = both[0]
    text = printed(tree)
    assert not found(memory, text) & found(memory, f"NOT ({text})")
    assert found(memory, text) == found(memory, f"NOT (NOT ({text}))")


# --- values


@settings(max_examples=300)
@given(
    pair=st.one_of(
        *(st.tuples(each, each) for each in (st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), texts, st.booleans()))
    )
)
def test_encoded_values_compare_as_the_values_do(pair: tuple[Any, Any]) -> None:
    left, right = pair
    assert (encoded(left) < encoded(right)) == (left < right)
    assert (encoded(left) == encoded(right)) == (left == right)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1h30m", 5400 * 10**9),
        ("1.5s", 1_500_000_000),
        ("2d", 172_800 * 10**9),
        ("-3ms", -3_000_000),
        ("01:02:03", 3723 * 10**9),
        ("77", 77),
    ],
)
def test_durations(text: str, wanted: int) -> None:
    assert duration_ns(text) == wanted


@pytest.mark.parametrize("text", ["", "h", "1x", "1h 2m", "1:2:3", "00:60:00", "--1s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="no span"):
        duration_ns(text)


def test_instants() -> None:
    assert rfc3339_ns("1970-01-01T00:00:00.000000001Z") == 1
    assert rfc3339_ns("1970-01-01t01:00:00+01:00") == 0
    assert rfc3339_ns("1969-12-31T23:59:59.5Z") == -500_000_000
    with pytest.raises(ValueError, match="RFC 3339"):
        rfc3339_ns("1970-01-01")


def test_types_have_names() -> None:
    assert [type_name(kind) for kind in CUSTOM.values()] == [
        "Keyword",
        "KeywordList",
        "Text",
        "Int",
        "Double",
        "Bool",
        "Datetime",
        "Keyword",
    ]
    assert read_query("", {}).condition != All()
    assert json.dumps(tokens("Über_uns: ÜBER 2")) == json.dumps(["über", "uns", "2"])
