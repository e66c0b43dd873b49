"""The shipped file is what its generator writes; each kind of dirt in it is stored rightly or rejected with its reason."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from perdure.demo.import_users import iso_date, transform, validate
from perdure.demo.sample import HEADER, SAMPLE_ROWS, SEED, sample_csv, sample_lines, write_sample_csv
from perdure.patterns.batch import CsvFile, ValidationError, open_csv
from perdure.patterns.batch_csv import parse, read_range


def verdict(record_problem: str | None, fields: dict[str, str]) -> str:
    """What becomes of a record, in a word or two."""
    if record_problem:
        return record_problem.split(" ")[0]
    try:
        validate(fields)
        transform(fields)
    except ValidationError as error:
        return "e-mail" if "e-mail" in str(error) else "date"
    return "good"


def test_the_shipped_file_is_what_the_generator_writes(tmp_path: Path) -> None:
    unpacked = sample_csv(tmp_path)
    with unpacked.open("rb") as file:
        assert file.readline() == HEADER
        lines = sample_lines(2_000, random.Random(SEED))
        for line in lines:
            assert file.read(len(line)) == line


def test_the_shipped_file_is_dirty_as_files_are(tmp_path: Path) -> None:
    source = open_csv(CsvFile(str(sample_csv(tmp_path))), required=["email"])
    found: Counter[str] = Counter()
    emails: set[str] = set()
    recoded = multiline = 0
    for record in read_range(source, source.body, source.size):
        parsed = parse(record, source)
        what = verdict(parsed.problem, parsed.fields)
        recoded += parsed.recoded
        multiline += record.data.count(b"\n") > 1
        if what == "good":
            email = transform(parsed.fields).email
            what = "doubled" if email in emails else "good"
            emails.add(email)
        found[what] += 1
    assert sum(found.values()) >= 50_000
    assert found["good"] > 0.9 * SAMPLE_ROWS
    assert min(found[what] for what in ("e-mail", "date", "doubled", "has", "opens")) > 100
    assert recoded > 100 and multiline > 100


def test_a_sample_of_any_length_is_written_as_a_stream(tmp_path: Path) -> None:
    write_sample_csv(tmp_path / "a.csv", 500)
    source = open_csv(CsvFile(str(tmp_path / "a.csv")))
    assert 490 <= sum(1 for _ in read_range(source, source.body, source.size)) <= 520


@pytest.mark.parametrize(
    ("text", "date"),
    [("2001-12-31", "2001-12-31"), ("31.12.2001", "2001-12-31"), ("12/31/2001", "2001-12-31"), ("1.2.1999", "1999-02-01"), ("", "")],
)
def test_dates_come_in_three_spellings(text: str, date: str) -> None:
    assert iso_date(text) == date


@pytest.mark.parametrize("text", ["30.02.2001", "0000-00-00", "n/a", "2001-13-01", "31/12/2001", "31.12.01", "1.2.3.2001", "yesterday"])
def test_a_date_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="is no date"):
        iso_date(text)


@pytest.mark.parametrize(
    "email", ["", "ann", "ann at example.com", "ann@", "@example.com", "ann..b@example.com", "a b@example.com", "ann@example"]
)
def test_an_address_that_is_none_is_refused(email: str) -> None:
    with pytest.raises(ValidationError, match="is no address"):
        validate({"email": email})
