"""Dates written in many ways, and in ISO 8601: a small real translation that needs no download.

"Wednesday the twenty-seventh of September, 2023" is 2023-09-27. No date can be read in two ways: with dots and hyphens
the day comes first, with slashes the month (or a year of four digits), and years of two digits are from 1950 to 2049.
"""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np

FIRST, LAST = date(1950, 1, 1), date(2049, 12, 31)
SIZES = {"train": 20_000, "val": 1_000, "test": 2_000}
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
)  # fmt: skip
FORMATS = (
    "{d}.{m}.{y}", "{dd}.{mm}.{y}", "{dd}.{mm}.{yy}", "{d}. {month} {y}", "{m}/{d}/{y}", "{mm}/{dd}/{yy}",
    "{y}/{mm}/{dd}", "{y}{mm}{dd}", "{d} {month} {y}", "{d} {mon} '{yy}", "{d}-{mon}-{yy}", "{dd}{mon}{y}",
    "{nth} {month} {y}", "{month} {d}, {y}", "{mon} {d}, {y}", "{month} {nth} {y}", "the {nth} of {month} {y}",
    "{month} the {word}, {y}", "{weekday}, {d} {month} {y}", "{day} {mon} {d} {y}", "{weekday}, {month} {d}, {y}",
    "{weekday} the {word} of {month}, {y}", "{y}, {month} {d}",
)  # fmt: skip
CASES = (str, str, str.lower, str.upper)


def generate(seed: int) -> dict[str, list[tuple[str, str]]]:
    """Returns pairs of a date as it may be written and as ISO 8601 has it, by split; no date is in two of them.

    Each date is written in one way, drawn with the dates themselves.
    """
    random = np.random.RandomState(seed)
    days = random.permutation((LAST - FIRST).days + 1)[: sum(SIZES.values())]
    dates = [FIRST + timedelta(int(day)) for day in days]
    ways = random.randint(0, len(FORMATS), len(dates)), random.randint(0, len(CASES), len(dates))
    pairs = (
        (written(day, FORMATS[way], CASES[case]), day.isoformat()) for day, way, case in zip(dates, *ways, strict=True)
    )
    return {split: [next(pairs) for _ in range(size)] for split, size in SIZES.items()}


def written(day: date, form: str, case: Callable[[str], str] = str) -> str:
    """Returns a date in one of `FORMATS`, its letters as they are, lower or upper."""
    month, weekday = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    names = {"month": month, "mon": month[:3], "weekday": weekday, "day": weekday[:3]}
    numbers = {"d": str(day.day), "m": str(day.month), "y": str(day.year), "yy": f"{day.year % 100:02}"}
    padded = {"dd": f"{day.day:02}", "mm": f"{day.month:02}"}
    return case(form.format(**names, **numbers, **padded, nth=abbreviated(day.day), word=ordinal(day.day)))


def abbreviated(number: int) -> str:
    """Returns the ordinal number in figures, of 1 to 99: 1st, 12th, 23rd."""
    ending = "th" if number // 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def ordinal(number: int) -> str:
    """Returns the ordinal number in words, of 1 to 31."""
    if number < 20:
        return ORDINALS[number - 1]
    if number % 10 == 0:
        return {20: "twentieth", 30: "thirtieth"}[number]
    return f"{ {2: 'twenty', 3: 'thirty'}[number // 10] }-{ORDINALS[number % 10 - 1]}"
