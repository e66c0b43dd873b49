"""A CSV file read by byte ranges gives the records that the csv module gives, and everything that is no CSV is named."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.patterns.batch_csv import (
    RECORD_BYTES_MAX,
    CsvFile,
    Parsed,
    ValidationError,
    check_unchanged,
    count_rows,
    open_csv,
    parse,
    plan_ranges,
    read_range,
)


def write(path: Path, data: bytes) -> CsvFile:
    path.write_bytes(data)
    return CsvFile(str(path))


def read_all(source: CsvFile, rows: int = 3) -> list[Parsed]:
    """All records, chunk by chunk, planned two chunks at a time."""
    found: list[Parsed] = []
    offset, row = source.body, 1
    while ranges := plan_ranges(source, offset, row, rows, 2):
        for where in ranges:
            assert (where.start, where.first_row) == (offset, row)
            records = [parse(record, source) for record in read_range(source, where.start, where.end)]
            assert len(records) == where.rows <= rows
            found += records
            offset, row = where.end, row + where.rows
    assert len(found) == count_rows(source)
    return found


@given(
    rows=st.lists(st.lists(st.text(st.sampled_from("ab\",\n é;'\t"), max_size=6), min_size=3, max_size=3), max_size=12),
    ending=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_records_are_those_of_the_csv_module(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], ending: str, quoting: int
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=ending, quoting=quoting).writerows([["x", "y", "z"], *rows])  # type: ignore[arg-type]
    source = open_csv(write(tmp_path_factory.mktemp("csv") / "a.csv", text.getvalue().encode()))
    assert [list(parsed.fields.values()) for parsed in read_all(source)] == rows


def test_byte_order_mark_latin1_and_a_last_line_without_newline(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbfname,city\n" + "Zoë,Århus\n".encode() + "Zoë,Århus\n".encode("latin-1") + b"Ann,Bonn"
    source = open_csv(write(tmp_path / "a.csv", data))
    assert source.columns == ("name", "city")
    found = read_all(source)
    assert [parsed.fields["name"] for parsed in found] == ["Zoë", "Zoë", "Ann"]
    assert [parsed.recoded for parsed in found] == [False, True, False]


def test_without_a_fallback_a_record_in_another_encoding_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,\xe9\n")
    source = open_csv(CsvFile(str(tmp_path / "a.csv"), fallback_encoding=None))
    assert [parsed.problem for parsed in read_all(source)] == ["is not utf-8"]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (b"1\n", "has 1 fields where the header has 2"),
        (b"1,2,3\n", "has 3 fields where the header has 2"),
        (b"1,2,,,\n", None),
        (b"1,x\0y\n", "holds a NUL byte"),
        (b'1,"open\n', "opens a quote that is never closed"),
        (b"1," + b"x" * RECORD_BYTES_MAX + b"\n", "is longer than 131,072 bytes"),
        (b'1,"' + b"x\n" * RECORD_BYTES_MAX + b'"\n', None),
        (b'1,2" pipe\n', None),
        (b'1,"two\nlines"\n', None),
        (b"1,a\rb\n", None),
        (b'"1"x,2\n', None),
        (b'"1,a\rb\n', "opens a quote that is never closed"),
    ],
)
def test_an_odd_record_is_named_and_its_neighbours_are_read(tmp_path: Path, record: bytes, problem: str | None) -> None:
    source = open_csv(write(tmp_path / "a.csv", b"a,b\nfirst,1\n" + record + b"\r\n\nlast,2\n"))
    found = read_all(source)
    assert found[0].fields == {"a": "first", "b": "1"} and found[-1].fields == {"a": "last", "b": "2"}
    if len(found) == 3:
        assert found[1].problem == problem


def test_an_open_quote_takes_no_good_record_along(tmp_path: Path) -> None:
    lines = [b'1,"never closed\n', b"2,two\n", b'3,"quoted, and well"\n', b"4,four\n"]
    found = read_all(open_csv(write(tmp_path / "a.csv", b"a,b\n" + b"".join(lines))))
    assert [parsed.problem or parsed.fields["a"] for parsed in found] == ["opens a quote that is never closed", "2", "3", "4"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a.csv is empty: its first line should name the columns."),
        (b"\n\n", "a.csv is empty: its first line should name the columns."),
        ("a,b\n".encode("utf-16"), "a.csv is UTF-16: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)."),
        (b"\x1f\x8b\x08\x00", "a.csv is compressed by gzip: unpack it first (gunzip)."),
        (b"PK\x03\x04", "a.csv is a ZIP or Excel file: save it as CSV."),
        (b"a,b\r1,2\r", "a.csv ends its lines with CR alone: convert it (tr '\\r' '\\n')."),
        (b"a,b\n", "a.csv lacks the column email; it has a, b."),
        (b"a\x1b[2J,b\n", "a.csv lacks the column email; it has 'a\\x1b[2J, b'."),
        (b"x" * 5_000 + b"\n", f"a.csv lacks the column email; it has {'x' * 200}…."),
        (b"email,b,b\n", "a.csv names the column 'b' more than once."),
        (b'email,"b\n', "a.csv has no readable header: it opens a quote that is never closed."),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_in_one_sentence(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        open_csv(write(tmp_path / "a.csv", data), required=["email"])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (CsvFile("/nowhere/a.csv"), "There is no file /nowhere/a.csv."),
        (CsvFile("/"), "/ is not a file."),
        (CsvFile("a.csv", delimiter=";;"), "delimiter is one ASCII character, not ';;'."),
        (CsvFile("a.csv", encoding="utf-9"), "There is no encoding 'utf-9'; 'utf-8' and 'latin-1' are usual."),
        (CsvFile("a.csv", encoding="utf-16"), "'utf-16' does not contain ASCII: convert the file to UTF-8 first."),
    ],
)
def test_a_wrong_source_is_refused(source: CsvFile, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        open_csv(source)
    assert str(caught.value) == message


def test_header_only_is_an_import_of_nothing(tmp_path: Path) -> None:
    assert read_all(open_csv(write(tmp_path / "a.csv", b"a,b"))) == []


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, mark: str) -> None:
    source = open_csv(write(tmp_path / "a.csv", f"a{mark}b\n1{mark}2\n".encode()))
    assert read_all(source)[0].fields == {"a": "1", "b": "2"}


def test_a_file_that_changed_is_not_read_on(tmp_path: Path) -> None:
    source = open_csv(write(tmp_path / "a.csv", b"a,b\n1,2\n"))
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n3,4\n")
    with pytest.raises(ValidationError, match="changed while it was being imported"):
        check_unchanged(source)
    (tmp_path / "a.csv").unlink()
    with pytest.raises(ValidationError, match="is gone"):
        check_unchanged(source)
