"""Specs of schedules: texts become ranges, and the times that match are those that a second-by-second search finds."""

from __future__ import annotations

import cProfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.schedule.v1 import CalendarSpec, IntervalSpec, Range, ScheduleSpec, StructuredCalendarSpec

from perdure.engine.core.schedules import spec as spec_module
from perdure.engine.core.schedules.cron import parse_cron
from perdure.engine.core.schedules.fields import FIELDS, InvalidSpec, structured
from perdure.engine.core.schedules.spec import CompiledSpec, canonical

SECOND = 1_000_000_000
STRETCH_CALLS_MAX = 250
"""To pass one excluded stretch; it takes about a hundred."""
EVERY = [Range(end=59)]


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def shown(second: int | None, zone: str = "UTC") -> str | None:
    return None if second is None else datetime.fromtimestamp(second, ZoneInfo(zone)).isoformat()


def compile_cron(*texts: str, **more: object) -> CompiledSpec:
    return CompiledSpec(canonical(ScheduleSpec(cron_string=texts, **more)))  # type: ignore[arg-type]


def times(spec: CompiledSpec, after: str, count: int, zone: str = "UTC") -> list[str | None]:
    second: int | None = at(after, zone)
    found = []
    for _ in range(count):
        assert second is not None
        second = spec.next_second(second)
        found.append(shown(second, zone))
    return found


# Texts.


@pytest.mark.parametrize(
    ("field", "text", "ranges"),
    [
        ("minute", "13", [(13, 0, 0)]),
        ("minute", "13,18", [(13, 0, 0), (18, 0, 0)]),
        ("minute", "13-18", [(13, 18, 0)]),
        ("minute", "2/3", [(2, 59, 3)]),
        ("minute", "2-6/3", [(2, 6, 3)]),
        ("minute", "*/3", [(0, 59, 3)]),
        ("minute", "*", [(0, 59, 0)]),
        ("minute", "", [(0, 0, 0)]),
        ("hour", " 2-5 , 7 ", [(2, 5, 0), (7, 0, 0)]),
        ("month", "Sept", [(9, 0, 0)]),
        ("month", "feb-JUNE/2", [(2, 6, 2)]),
        ("month", "", [(1, 12, 0)]),
        ("day_of_week", "mon-Friday", [(1, 5, 0)]),
        ("day_of_week", "7", [(0, 0, 0)]),
        ("day_of_week", "6,7", [(6, 0, 0), (0, 0, 0)]),
        ("day_of_week", "5-7", [(0, 0, 0), (5, 6, 0)]),
        ("day_of_week", "2-7/2", [(2, 6, 2)]),
        ("day_of_week", "*", [(0, 6, 0)]),
        ("year", "*", []),
        ("year", "2026/10", [(2026, 2100, 10)]),
    ],
)
def test_text_of_a_field_becomes_ranges(field: str, text: str, ranges: list[tuple[int, int, int]]) -> None:
    result = structured(CalendarSpec(**{field: text}))
    assert [(each.start, each.end, each.step) for each in getattr(result, field)] == ranges


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("minute", "133"),
        ("minute", "13,"),
        ("minute", "18-13"),
        ("minute", "2/3/5"),
        ("minute", "2/0"),
        ("minute", "-5"),
        ("minute", "x"),
        ("minute", "²"),
        ("month", "ja"),
        ("month", "0"),
        ("day_of_week", "Fri-Tues"),
        ("day_of_week", "1-5-7"),
        ("day_of_week", "monday-"),
        ("day_of_week", "8"),
        ("year", "1999"),
    ],
)
def test_text_that_cannot_be_read_is_refused(field: str, text: str) -> None:
    with pytest.raises(InvalidSpec):
        structured(CalendarSpec(**{field: text}))


def test_cron_strings() -> None:
    cron = parse_cron("CRON_TZ=US/Pacific 55 55,57 5 2/2 * wed-thurs *  # explanation")
    assert cron.zone == "US/Pacific"
    assert cron.interval is None
    assert cron.calendar == StructuredCalendarSpec(
        second=[Range(start=55)],
        minute=[Range(start=55), Range(start=57)],
        hour=[Range(start=5)],
        day_of_month=[Range(start=2, end=31, step=2)],
        month=[Range(start=1, end=12)],
        day_of_week=[Range(start=3, end=4)],
        comment="explanation",
    )
    assert parse_cron("0 12 * * MON 2030").calendar == structured(CalendarSpec(hour="12", day_of_week="1", year="2030"))
    assert parse_cron("@monthly").calendar == structured(CalendarSpec(day_of_month="1"))
    assert parse_cron("TZ=Asia/Tokyo @hourly").calendar == structured(CalendarSpec(hour="*"))
    assert parse_cron("@every 1h30m/90s # why").interval == IntervalSpec(
        interval={"seconds": 5400},  # type: ignore[arg-type]
        phase={"seconds": 90},  # type: ignore[arg-type]
    )
    assert parse_cron("@every 1.5h/.5m").interval == IntervalSpec(interval=Duration(seconds=5400), phase=Duration(seconds=30))
    assert parse_cron("@every 90000ms").interval == IntervalSpec(interval=Duration(seconds=90))


@pytest.mark.parametrize("text", ["", "* * *", "* * * * * * * *", "@every", "@every 5", "@every 5x", "@every 5m/", "@never", "# only"])
def test_cron_string_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec):
        parse_cron(text)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ScheduleSpec(interval=[IntervalSpec()]), "interval is too small"),
        (ScheduleSpec(cron_string=["@every 10s/10s"]), "phase cannot be greater than Interval"),
        (ScheduleSpec(cron_string=["CRON_TZ=Asia/Tokyo @daily"], timezone_name="UTC"), "conflicting timezone names"),
        (ScheduleSpec(cron_string=["CRON_TZ=Asia/Tokyo @daily", "@hourly"]), "conflicting timezone names"),
        (ScheduleSpec(timezone_name="Mars/Olympus"), "unknown time zone Mars/Olympus"),
        (ScheduleSpec(timezone_name="../etc/passwd"), "unknown time zone"),
        (ScheduleSpec(timezone_data=b"nonsense"), "timezone data"),
        (ScheduleSpec(structured_calendar=[StructuredCalendarSpec(second=[Range(start=60)])]), "Second Start is not in range [0-59]"),
        (ScheduleSpec(structured_calendar=[StructuredCalendarSpec(day_of_week=[Range(end=7)])]), "DayOfWeek End is not in range [0-6]"),
        (ScheduleSpec(structured_calendar=[StructuredCalendarSpec(month=[Range(start=1, step=-1)])]), "Month has invalid Step"),
        (ScheduleSpec(calendar=[CalendarSpec(comment="c" * 201)]), "comment is too long"),
    ],
)
def test_spec_that_contradicts_itself_is_refused(spec: ScheduleSpec, words: str) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        canonical(spec)
    assert words in str(refusal.value)


def test_canonical_form_has_structured_calendars_and_intervals_alone_and_is_its_own() -> None:
    own = StructuredCalendarSpec(second=[Range(start=1, step=1)], comment="kept as sent")
    spec = canonical(
        ScheduleSpec(
            structured_calendar=[own],
            calendar=[CalendarSpec(hour="3")],
            cron_string=["CRON_TZ=Asia/Tokyo 0 12 * * MON", "TZ=Asia/Tokyo @every 1d"],
            exclude_calendar=[CalendarSpec(year="2050")],
        )
    )
    assert not (spec.calendar or spec.cron_string or spec.exclude_calendar)
    assert spec.structured_calendar[0] == own
    assert len(spec.structured_calendar) == 3
    assert spec.interval[0].interval.seconds == 86400
    assert len(spec.exclude_structured_calendar) == 1
    assert spec.timezone_name == "Asia/Tokyo"
    assert canonical(spec) == spec


# Times.


def test_time_that_the_clock_skips_never_comes() -> None:
    spec = compile_cron("CRON_TZ=US/Pacific 33 33 2 * * * *")
    assert times(spec, "2022-03-11T20:00:00", 3, "US/Pacific") == [
        "2022-03-12T02:33:33-08:00",
        "2022-03-14T02:33:33-07:00",
        "2022-03-15T02:33:33-07:00",
    ]


def test_time_that_the_clock_shows_twice_comes_twice() -> None:
    spec = compile_cron("CRON_TZ=US/Pacific 33 33,44 1 * * * *")
    assert times(spec, "2021-11-07T00:15:15", 5, "US/Pacific") == [
        "2021-11-07T01:33:33-07:00",
        "2021-11-07T01:44:33-07:00",
        "2021-11-07T01:33:33-08:00",
        "2021-11-07T01:44:33-08:00",
        "2021-11-08T01:33:33-08:00",
    ]


@contextmanager
def calls_at_most(limit: int) -> Iterator[None]:
    """Bounds the work, by the calls made: the time that they take is the machine's affair."""
    profile = cProfile.Profile()
    with profile:
        yield
    assert sum(entry.callcount for entry in profile.getstats()) < limit


def test_sparse_spec_is_found_and_impossible_one_is_given_up_quickly() -> None:
    zone = "Europe/Berlin"
    with calls_at_most(20_000):
        assert times(compile_cron(f"CRON_TZ={zone} 0 0 29 2 MON"), "2001-01-01T00:00:00", 4, zone) == [
            "2016-02-29T00:00:00+01:00",
            "2044-02-29T00:00:00+01:00",
            "2072-02-29T00:00:00+01:00",
            None,
        ]
        assert compile_cron(f"CRON_TZ={zone} 0 0 30 2 *").next_second(0) is None


def test_excluded_times_are_passed_by_whole_stretches() -> None:
    daily = [CalendarSpec(second="*", minute="*", hour="*", year="2026-2030")]
    with calls_at_most(5 * 366 * STRETCH_CALLS_MAX):
        assert shown(compile_cron("@every 1s", exclude_calendar=daily).next_second(at("2026-01-01"))) == "2031-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("cron", "excluded"),
    [
        ("CRON_TZ=Europe/Berlin * * * * * * *", [CalendarSpec(second="*", minute="*", hour="*")]),
        (
            "* * * * * * *",
            [CalendarSpec(second="0-29", minute="*", hour="*"), CalendarSpec(second="30-59", minute="*", hour="*")],
        ),
    ],
)
def test_a_spec_that_excludes_all_it_names_is_given_up(monkeypatch: pytest.MonkeyPatch, cron: str, excluded: list[CalendarSpec]) -> None:
    assert spec_module.EXCLUDED_STRETCHES_MAX <= 20_000
    monkeypatch.setattr(spec_module, "EXCLUDED_STRETCHES_MAX", 500)
    compiled = compile_cron(cron, exclude_calendar=excluded)
    with calls_at_most(500 * STRETCH_CALLS_MAX):
        assert compiled.next_second(at("2026-01-01")) is None


def test_calendar_without_a_range_names_no_time() -> None:
    assert CompiledSpec(ScheduleSpec(structured_calendar=[StructuredCalendarSpec()])).next_second(0) is None
    assert CompiledSpec(ScheduleSpec()).next_second(0) is None


def test_intervals_count_from_the_epoch_with_their_phase() -> None:
    spec = compile_cron("@every 7m/30s")
    start = at("2026-05-01T00:00:00")
    found = spec.next_second(start)
    assert found is not None
    assert (found - 30) % 420 == 0
    assert 0 < found - start <= 420


def test_start_and_end_are_inclusive() -> None:
    spec = canonical(ScheduleSpec(cron_string=["@daily"]))
    spec.start_time.FromDatetime(datetime(2026, 3, 2, tzinfo=UTC))
    spec.end_time.FromDatetime(datetime(2026, 3, 3, tzinfo=UTC))
    assert times(CompiledSpec(spec), "2025-01-01T00:00:00", 3) == ["2026-03-02T00:00:00+00:00", "2026-03-03T00:00:00+00:00", None]


def test_zone_data_is_used_instead_of_the_name() -> None:
    data = next(Path(root, "Asia/Tokyo").read_bytes() for root in TZPATH if Path(root, "Asia/Tokyo").exists())
    spec = CompiledSpec(canonical(ScheduleSpec(calendar=[CalendarSpec(hour="9")], timezone_name="Mine/Own", timezone_data=data)))
    assert times(spec, "2026-05-01T00:00:00", 2) == ["2026-05-02T00:00:00+00:00", "2026-05-03T00:00:00+00:00"]


@given(st.integers(0, 2_000_000_000), st.integers(1, 7200), st.integers(0, 10**12), st.text(max_size=5))
def test_jitter_is_the_same_each_time_and_keeps_the_order(after: int, every: int, jitter_ns: int, seed: str) -> None:
    spec = ScheduleSpec(interval=[IntervalSpec(interval={"seconds": every})])  # type: ignore[arg-type]
    spec.jitter.FromNanoseconds(jitter_ns)
    compiled = CompiledSpec(canonical(spec))
    first = compiled.next(after * SECOND, seed)
    assert first is not None
    following = compiled.next(first.nominal, seed)
    assert following is not None
    assert first == compiled.next(first.nominal - 1, seed)
    assert first.nominal <= first.actual <= first.nominal + jitter_ns
    assert first.actual % 1_000_000 == 0
    assert first.actual < following.nominal == first.nominal + every * SECOND


# Against a search by seconds.

ZONES = [
    "UTC",
    "US/Pacific",
    "Europe/London",
    "Asia/Beirut",
    "America/Asuncion",
    "Cuba",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Pacific/Apia",
]
CHANGES = {
    "US/Pacific": ["2022-03-13T10:00:00", "2021-11-07T09:00:00"],
    "Europe/London": ["2004-10-31T01:00:00", "2026-03-29T01:00:00"],
    "Asia/Beirut": ["2021-03-27T22:00:00", "2021-10-30T21:00:00"],
    "America/Asuncion": ["2021-03-28T03:00:00", "2021-10-03T04:00:00"],
    "Cuba": ["2021-03-14T05:00:00", "2021-11-07T05:00:00"],
    "Australia/Lord_Howe": ["2021-04-03T15:00:00", "2021-10-02T15:30:00"],
    "Pacific/Apia": ["2011-12-30T10:00:00"],
}


def some(low: int, high: int) -> st.SearchStrategy[list[tuple[int, int, int]]]:
    few = st.tuples(st.integers(low, high), st.integers(low, high), st.integers(0, 7))
    return st.one_of(st.just([(low, high, 1)]), st.lists(few, min_size=1, max_size=3))


FIELD_RANGES = st.fixed_dictionaries({field.name: some(field.low, field.high) for field in FIELDS if field.name != "year"})


def calendar_of(ranges: dict[str, list[tuple[int, int, int]]]) -> StructuredCalendarSpec:
    return StructuredCalendarSpec(
        **{  # type: ignore[arg-type]
            name: [Range(start=start, end=end, step=step) for start, end, step in each] for name, each in ranges.items()
        }
    )


def matches(spec: StructuredCalendarSpec, local: datetime) -> bool:
    shows = {
        "second": local.second,
        "minute": local.minute,
        "hour": local.hour,
        "day_of_month": local.day,
        "month": local.month,
        "day_of_week": local.isoweekday() % 7,
    }
    return all(
        any(value in range(each.start, max(each.start, each.end) + 1, each.step or 1) for each in getattr(spec, name))
        for name, value in shows.items()
    )


@st.composite
def questions(draw: st.DrawFn) -> tuple[ScheduleSpec, int]:
    zone = draw(st.sampled_from(ZONES))
    moment = at(draw(st.sampled_from(CHANGES.get(zone, ["2026-01-31T23:00:00"]))))
    spec = ScheduleSpec(timezone_name=zone, structured_calendar=map(calendar_of, draw(st.lists(FIELD_RANGES, min_size=1, max_size=2))))
    spec.exclude_structured_calendar.extend(map(calendar_of, draw(st.lists(FIELD_RANGES, max_size=1))))
    if draw(st.booleans()):
        interval = draw(st.integers(1, 5000))
        spec.interval.append(IntervalSpec(interval={"seconds": interval}, phase={"seconds": draw(st.integers(0, interval - 1))}))  # type: ignore[arg-type]
    return spec, moment - draw(st.integers(-1000, 4 * 3600))


def search(spec: ScheduleSpec, after: int, seconds: int) -> int | None:
    zone = ZoneInfo(spec.timezone_name)
    for second in range(after + 1, after + seconds + 1):
        local = datetime.fromtimestamp(second, zone)
        named = any((second - each.phase.seconds) % each.interval.seconds == 0 for each in spec.interval) or any(
            matches(each, local) for each in spec.structured_calendar
        )
        if named and not any(matches(each, local) for each in spec.exclude_structured_calendar):
            return second
    return None


SEARCHED = 2 * 3600


@settings(deadline=None, max_examples=50)
@given(questions())
def test_next_time_is_the_one_that_a_search_by_seconds_finds(question: tuple[ScheduleSpec, int]) -> None:
    spec, after = question
    found = CompiledSpec(canonical(spec)).next_second(after)
    expected = search(spec, after, SEARCHED)
    if expected is None:
        assert found is None or found > after + SEARCHED
    else:
        assert shown(found, spec.timezone_name) == shown(expected, spec.timezone_name)


@settings(deadline=None, max_examples=100)
@given(questions(), st.lists(st.floats(0, 1, exclude_max=True), min_size=3, max_size=3))
def test_next_time_is_the_same_from_anywhere_before_it(question: tuple[ScheduleSpec, int], parts: list[float]) -> None:
    spec, after = question
    compiled = CompiledSpec(canonical(spec))
    found = compiled.next_second(after)
    if found is not None:
        for part in parts:
            assert compiled.next_second(after + int((found - after) * part)) == found
