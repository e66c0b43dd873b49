"""A CSV file, read by byte ranges: so that a million rows never stand in memory, and any chunk can be read alone.

One scanner (`scan`) decides where a record begins and ends, for the survey, the plan and the chunks alike. The rule that is easily
got wrong: a newline ends a record only outside quotes, and a quote opens a field only at its beginning (`5" pipe` holds a plain
quote). A quote that is never closed would swallow what follows: where the lines so joined do not make the header's number of
fields, or get longer than RECORD_BYTES_MAX, the first line alone is a broken record, and reading goes on after it.

Blank lines are no records. Row 1 is the first record after the header.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

RECORD_BYTES_MAX = 131_072
"""The longest record; the csv module's own limit for a field is the same. A longer one is reported, not read."""

COLUMNS_SHOWN = 200
"""Characters of a header in a message."""
_BOM = b"\xef\xbb\xbf"
_QUOTED = re.compile(rb'"[^"]*(?:""[^"]*)*')
"""A quoted field up to its closing quote, or to the end. (Possessive quantifiers for the whole line are wrong in Python before 3.11.5.)"""
_KEPT_OF_BROKEN = 1_000  # bytes of a broken record that are kept for the report
_FOREIGN = {
    b"\xff\xfe": "is UTF-16: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "is UTF-16: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\x1f\x8b": "is compressed by gzip: unpack it first (gunzip)",
    b"PK\x03\x04": "is a ZIP or Excel file: save it as CSV",
}


class ValidationError(ValueError):
    """A record, or a whole file, is not what the import accepts; trying again would not help, so it is never retried."""


class Raw(NamedTuple):
    """One record as it stands in the file."""

    offset: int
    data: bytes
    end: int
    problem: str | None
    """Why it is no record (never closed, too long); None for a good one."""


class Parsed(NamedTuple):
    """One record as a mapping from column to text, or the problem that prevents it."""

    fields: dict[str, str]
    problem: str | None
    recoded: bool
    """It was not in the file's encoding, and was read in the fallback."""


@dataclass(frozen=True)
class CsvFile:
    """A file and how it is read; the rest is filled in by `open_csv`."""

    path: str
    delimiter: str = ""
    """One ASCII character; empty: comma, semicolon, tab or bar, whichever the header has most of."""
    encoding: str = "utf-8"
    fallback_encoding: str | None = "latin-1"
    """Tried for a record that is not in `encoding` (files are often glued together); None rejects such a record."""
    columns: tuple[str, ...] = ()
    body: int = 0
    """Byte offset of the first record."""
    size: int = 0
    modified_ns: int = 0

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return Path(self.path).name


@dataclass(frozen=True)
class Range:
    """Some neighbouring records: bytes [start, end) and rows [first_row, first_row + rows)."""

    start: int
    end: int
    first_row: int
    rows: int


def open_csv(source: CsvFile, required: Sequence[str] = ()) -> CsvFile:
    """Read the header and note size and time; raises ValidationError when this is no CSV file with the `required` columns."""
    _check_format(source)
    path = Path(source.path)
    if not path.is_file():
        raise ValidationError(f"There is no file {path}." if not path.exists() else f"{path} is not a file.")
    stat = path.stat()
    with path.open("rb") as file:
        body = _skip_bom(file, source)
        source = replace(source, delimiter=source.delimiter or _guess_delimiter(file, body))
        header = next(scan(file, body, stat.st_size, replace(source, columns=())), None)
    if header is None:
        raise ValidationError(f"{source.name} is empty: its first line should name the columns.")
    columns = _columns(header, source, required)
    return replace(source, columns=columns, body=header.end, size=stat.st_size, modified_ns=stat.st_mtime_ns)


def _check_format(source: CsvFile) -> None:
    if len(source.delimiter) > 1 or not source.delimiter.isascii():
        raise ValidationError(f"delimiter is one ASCII character, not {source.delimiter!r}.")
    for encoding in filter(None, (source.encoding, source.fallback_encoding)):
        try:
            if '",\n'.encode(encoding) != b'",\n':
                raise ValidationError(f"{encoding!r} does not contain ASCII: convert the file to UTF-8 first.")
        except LookupError:
            raise ValidationError(f"There is no encoding {encoding!r}; 'utf-8' and 'latin-1' are usual.") from None


def _skip_bom(file: BinaryIO, source: CsvFile) -> int:
    head = file.read(4)
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise ValidationError(f"{source.name} {what}.")
    return len(_BOM) if head.startswith(_BOM) else 0


def _guess_delimiter(file: BinaryIO, body: int) -> str:
    file.seek(body)
    header = file.readline(RECORD_BYTES_MAX)
    return max(",;\t|", key=lambda mark: header.count(mark.encode()))


def _columns(header: Raw, source: CsvFile, required: Sequence[str]) -> tuple[str, ...]:
    if b"\r" in header.data.rstrip(b"\r\n") and b'"' not in header.data:
        raise ValidationError(f"{source.name} ends its lines with CR alone: convert it (tr '\\r' '\\n').")
    found = _Fields([], problem=header.problem) if header.problem else _split(header.data, source)
    if found.problem:
        raise ValidationError(f"{source.name} has no readable header: it {found.problem}.")
    columns = tuple(name.strip() for name in found.fields)
    missing = [name for name in required if name not in columns]
    if missing:
        raise ValidationError(f"{source.name} lacks the column {', '.join(missing)}; it has {_shown(columns)}.")
    doubled = sorted({name for name in columns if columns.count(name) > 1})
    if doubled:
        raise ValidationError(f"{source.name} names the column {', '.join(map(repr, doubled))} more than once.")
    return columns


def _shown(columns: Sequence[str]) -> str:
    """Names of columns in one line, even if what stands there are none."""
    text = ", ".join(columns)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= COLUMNS_SHOWN else f"{text[:COLUMNS_SHOWN]}…"


def check_unchanged(source: CsvFile) -> None:
    """Raise ValidationError when the file is gone or is not the one whose header was read: byte ranges of another file mean nothing."""
    path = Path(source.path)
    if not path.is_file():
        raise ValidationError(f"{path} is gone.")
    stat = path.stat()
    if (stat.st_size, stat.st_mtime_ns) != (source.size, source.modified_ns):
        raise ValidationError(f"{source.name} changed while it was being imported: start the import of the new file anew.")


def count_rows(source: CsvFile, seen: Callable[[int], object] = lambda _rows: None) -> int:
    """The number of records; `seen` hears of every 10,000."""
    check_unchanged(source)
    rows = 0
    with open(source.path, "rb") as file:
        for _ in scan(file, source.body, source.size, source):
            rows += 1
            if rows % 10_000 == 0:
                seen(rows)
    return rows


def plan_ranges(
    source: CsvFile, start: int, first_row: int, rows: int, limit: int, seen: Callable[[int], object] = lambda _rows: None
) -> list[Range]:
    """At most `limit` ranges of `rows` records each, from byte `start` on, where record `first_row` begins; none at the end of the file.

    `seen` hears of every 10,000 records.
    """
    check_unchanged(source)
    ranges: list[Range] = []
    begin, count = start, 0
    with open(source.path, "rb") as file:
        for record in scan(file, start, source.size, source):
            count += 1
            if count % 10_000 == 0:
                seen(count)
            if count == rows:
                ranges.append(Range(begin, record.end, first_row, count))
                begin, first_row, count = record.end, first_row + count, 0
                if len(ranges) == limit:
                    return ranges
    if count:
        ranges.append(Range(begin, source.size, first_row, count))
    return ranges


def scan(file: BinaryIO, start: int, end: int, source: CsvFile) -> Iterator[Raw]:
    """The records that begin in [start, end), blank lines left out."""
    file.seek(start)
    offset = start
    while offset < end:
        line = file.readline(RECORD_BYTES_MAX)
        if not line:
            return
        if b'"' not in line and line[-1] == 10:  # nearly every line: one record, complete
            next_offset = offset + len(line)
            if not line.isspace():
                yield Raw(offset, line, next_offset, None)
        else:
            record = _scan_odd(file, offset, line, source)
            next_offset = record.end
            if record.problem or not record.data.isspace():
                yield record
        offset = next_offset


def _scan_odd(file: BinaryIO, offset: int, line: bytes, source: CsvFile) -> Raw:
    """The record that begins with `line`: quoted, too long, or the last line without a newline."""
    if len(line) == RECORD_BYTES_MAX and line[-1] != 10:
        return Raw(offset, line[:_KEPT_OF_BROKEN], _end_of_line(file), f"is longer than {RECORD_BYTES_MAX:,} bytes")
    data = _joined(file, line, source)
    if data is not None:
        return Raw(offset, data, offset + len(data), None)
    end = offset + len(line)
    file.seek(end)
    return Raw(offset, line[:_KEPT_OF_BROKEN], end, "opens a quote that is never closed")


def _joined(file: BinaryIO, line: bytes, source: CsvFile) -> bytes | None:
    """The line with those that its open quote takes in; None when they make no record."""
    mark = source.delimiter.encode()
    if not _ends_open(line, mark):
        return line
    parts, size = [line], len(line)
    while (line := file.readline(RECORD_BYTES_MAX)) and (size := size + len(line)) <= RECORD_BYTES_MAX:
        parts.append(line)
        if not _ends_open(b'"' + line, mark):
            data = b"".join(parts)
            return data if not source.columns or _fields(data, source).problem is None else None
    return None


def _end_of_line(file: BinaryIO) -> int:
    while (line := file.readline(RECORD_BYTES_MAX)) and line[-1] != 10:
        pass
    return file.tell()


def _ends_open(line: bytes, mark: bytes) -> bool:
    """Whether a line ends inside a quoted field."""
    place = 0
    while True:
        if line.startswith(b'"', place):
            place = _QUOTED.match(line, place).end()  # type: ignore[union-attr]  # it begins so
            if place == len(line):
                return True
        place = line.find(mark, place) + 1
        if not place:
            return False


def read_range(source: CsvFile, start: int, end: int) -> Iterator[Raw]:
    """The records of one range."""
    with open(source.path, "rb") as file:
        yield from scan(file, start, end, source)


def parse(record: Raw, source: CsvFile) -> Parsed:
    """The record as a mapping."""
    if record.problem:
        return Parsed({}, record.problem, False)
    return _parse_plain(record.data, source) or _parse_odd(record.data, source)


def _parse_plain(data: bytes, source: CsvFile) -> Parsed | None:
    """Nearly every record: in the file's encoding, without quotes, of the right width. None for another."""
    try:
        text = data.decode(source.encoding)
    except UnicodeDecodeError:
        return None
    fields = text.rstrip("\r\n").split(source.delimiter)
    if len(fields) != len(source.columns) or '"' in text or "\0" in text:
        return None
    return Parsed(dict(zip(source.columns, fields, strict=True)), None, False)


def _parse_odd(data: bytes, source: CsvFile) -> Parsed:
    found = _fields(data, source)
    fields = dict(zip(source.columns, found.fields, strict=True)) if found.problem is None else {}
    return Parsed(fields, found.problem, found.recoded)


class _Fields(NamedTuple):
    fields: list[str]
    recoded: bool = False
    problem: str | None = None


def _fields(data: bytes, source: CsvFile) -> _Fields:
    """The fields of a record, as many as the file has columns."""
    found, width = _split(data, source), len(source.columns)
    fields = found.fields
    if len(fields) > width and not any(fields[width:]):
        fields = fields[:width]  # spreadsheets write empty fields behind the last column
    problem = found.problem
    if problem is None and len(fields) != width:
        problem = f"has {len(fields)} fields where the header has {width}"
    if problem is None and b"\0" in data:
        problem = "holds a NUL byte"
    return _Fields(fields, found.recoded, problem)


def _split(data: bytes, source: CsvFile) -> _Fields:
    """The fields of a record, as many as it has."""
    recoded = False
    try:
        text = data.decode(source.encoding)
    except UnicodeDecodeError:
        if source.fallback_encoding is None:
            return _Fields([], False, f"is not {source.encoding}")
        text, recoded = data.decode(source.fallback_encoding, "replace"), True
    try:
        return _Fields(list(next(csv.reader([text], delimiter=source.delimiter), ())), recoded)
    except csv.Error as error:
        return _Fields([], recoded, f"is not CSV ({error})")
