"""The shipped file of users, and the generator that wrote it: `python -m perdure.demo.sample users.csv.gz` writes the same bytes again.

The dirt is what real exports hold: bad and doubled e-mail addresses, dates that do not exist or are written in three ways, Latin-1
glued into UTF-8, newlines in quotes, quotes that never close, short rows, blank lines. Everything is derived from the row's number
and a seed.
"""

from __future__ import annotations

import gzip
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

SAMPLE_ROWS = 60_000
SEED = 20_260_101

HEADER = "\ufeffid,name,email,born,country,joined,notes\r\n".encode()
_FIRST_NAMES = """
Anna Ben Chloé Daniel Elif Fatima Gábor Hana Ivan José Kateřina Lars María Noah Olivia Paweł Quentin Renée Søren Tomás
Uma Viktor Wei Ximena Yusuf Zoë Jürgen Björn Siân Aoife
"""
_LAST_NAMES = """
Almeida Brown Čapek Dubois Eriksson Fernández García Hansen Ivanov Jansen Kowalski Lefèvre Müller Nowak O'Brien Petrov
Quinn Rossi Schmidt Tanaka Urquhart Vogel Weiß Xu Yılmaz Zhang Ångström Peña Núñez Häkkinen
"""
_FIRST, _LAST = _FIRST_NAMES.split(), _LAST_NAMES.split()
_HOSTS = ("example.com", "example.org", "example.net", "mail.example", "post.example")
_COUNTRIES = ("DE", "FR", "GB", "ES", "PL", "SE", "TR", "JP", "US", "BR")
_NOTES = ("", "", "", "", "", "newsletter", "call back", "VIP", "moved, new address", 'asks for the 27" model')
_ASCII = str.maketrans("áâäåéëèíıñóöøúüýčřłßÅČŞ'", "aaaaeeeiinooouuycrlsACS_")

_EARLIER_MAX = 5_000

_Row = list[str]


def sample_csv(folder: Path) -> Path:
    """Unpack the shipped file into `folder`, unless it is there already."""
    path = folder / "users.csv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with gzip.open(Path(__file__).with_name("users.csv.gz")) as packed, partial.open("wb") as file:
            shutil.copyfileobj(packed, file)
        partial.replace(path)
    return path


def write_sample_csv(path: Path, rows: int, seed: int = SEED) -> None:
    """Write `rows` records like those of the shipped file, without holding them in memory."""
    with path.open("wb") as file:
        _write(file, rows, seed)


def _write(file: BinaryIO, rows: int, seed: int) -> None:
    file.write(HEADER)
    file.writelines(sample_lines(rows, random.Random(seed)))


def sample_lines(rows: int, rng: random.Random) -> Iterator[bytes]:
    """The records as they stand in the file; dirt may be more than one line, or a blank one."""
    earlier: list[str] = []  # some e-mail addresses that were written, at most _EARLIER_MAX
    for number in range(1, rows + 1):
        row = _clean_row(number, rng)
        dirt = rng.random()
        if dirt < 0.02 and earlier:
            row[2] = _spelled_differently(rng.choice(earlier), rng)  # the same person again
        elif dirt < 0.09:
            yield _DIRT[int((dirt - 0.02) / 0.07 * len(_DIRT))](row)
            continue
        elif len(earlier) < _EARLIER_MAX:
            earlier.append(row[2])
        else:
            earlier[number % _EARLIER_MAX] = row[2]
        yield _line(row)


def _clean_row(number: int, rng: random.Random) -> _Row:
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    mailbox = f"{first}.{last}{number}".translate(_ASCII).lower()
    born = (rng.randrange(1940, 2007), rng.randrange(1, 13), rng.randrange(1, 29))
    joined = f"20{rng.randrange(15, 26)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
    return [
        str(100_000 + number),
        f"{first} {last}",
        f"{mailbox}@{rng.choice(_HOSTS)}",
        _date(born, rng.random()),
        rng.choice(_COUNTRIES),
        joined,
        rng.choice(_NOTES),
    ]


def _date(date: tuple[int, int, int], style: float) -> str:
    year, month, day = date
    if style < 0.8:
        return f"{year}-{month:02}-{day:02}"
    return f"{day:02}.{month:02}.{year}" if style < 0.9 else f"{month}/{day}/{year}"


def _spelled_differently(email: str, rng: random.Random) -> str:
    return rng.choice((email, email.upper(), f" {email} ", email.title()))


def _field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if '"' in text or "," in text or "\n" in text else text


def _line(row: _Row, encoding: str = "utf-8") -> bytes:
    return (",".join(map(_field, row)) + "\r\n").encode(encoding, "replace")


def _with(column: int, change: Callable[[str], str], encoding: str = "utf-8") -> Callable[[_Row], bytes]:
    """A kind of dirt: one column changed, or the same row in another encoding."""

    def dirty(row: _Row) -> bytes:
        row[column] = change(row[column])
        return _line(row, encoding)

    return dirty


_DIRT: tuple[Callable[[_Row], bytes], ...] = (
    _with(2, lambda email: email.replace("@", " at ")),
    _with(2, lambda email: email.split("@")[0] + "@"),
    _with(2, lambda email: email.replace(".", "..", 1)),
    _with(2, lambda _email: ""),
    _with(3, lambda born: "30.02." + born[-4:] if born[-4:].isdigit() else born[:4] + "-02-30"),
    _with(3, lambda _born: "0000-00-00"),
    _with(3, lambda _born: "n/a"),
    _with(1, lambda name: name, "latin-1"),
    _with(1, lambda name: name, "latin-1"),
    _with(6, lambda _note: "left a message,\r\nwill call\r\nagain"),
    _with(6, lambda _note: 'known as "the boss"'),
    _with(1, lambda name: f"  {name}  "),
    lambda row: _line(row[:4]),
    lambda row: _line([*row, "", ""]),
    lambda row: _line(row) + b"\r\n",
    lambda row: f'{row[0]},"{row[1]},{",".join(row[2:6])},\r\n'.encode(),
)


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as target, gzip.GzipFile("", "wb", 9, target, mtime=0) as zipped:
        _write(zipped, SAMPLE_ROWS, SEED)  # type: ignore[arg-type]  # GzipFile writes as any file does
