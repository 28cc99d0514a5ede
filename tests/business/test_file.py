"""business.toml: the shipped files are right. Every mistake is named with its line, its key and the allowed values."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from relay.business.file import BusinessFileInvalid, load, parse
from relay.business.opening import hours_on, moment_of
from relay.business.told import ANSWERS_TOKENS, tokens, told
from relay.settings.shipped import folder

SHIPPED = ("business.toml", "business.barber.toml")
SMALL = """
name = "Small"
timezone = "America/New_York"
[hours]
mon-fri = "09:00-17:00"
[places]
chair = 2
[[services]]
name = "visit"
places = "chair"
minutes = 30
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(BusinessFileInvalid) as caught:
        parse(text)
    assert all(each in str(caught.value) for each in caught.value.mistakes)
    return caught.value.mistakes


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_files_have_no_mistake(name: str) -> None:
    assert load(folder("prompts") / name).services


@pytest.mark.parametrize(
    ("old", "new", "where", "words"),
    [
        ("09:00-17:00", "9-17", "line 5: hours.mon-fri", '"closed"'),
        ("09:00-17:00", "09:00-17:60", "line 5: hours.mon-fri", "that does not exist"),
        ("09:00-17:00", "09:00-12:00, 11:00-17:00", "line 5: hours.mon-fri", "overlap"),
        ("09:00-17:00", "09:00-09:00", "line 5: hours.mon-fri", '"00:00-24:00"'),
        ("mon-fri", "mon-fry", "line 5: hours.mon-fry", "mon tue wed thu fri sat sun"),
        ("mon-fri", 'wed = "closed"\nmon-fri', "line 6: hours.mon-fri", "wed is named twice"),
        ("mon-fri", 'sun = "22:00-10:00"\nmon-fri', "line 4: hours", "night of sun overlaps"),
        ("America/New_York", "America/Nowhere", "line 3: timezone", "America/New_York"),
        ("America/New_York", "EST", "line 3: timezone", "no summer time"),
        ('name = "Small"', "", "line 1", "name is missing"),
        ("chair = 2", "chair = 0", "line 7: places.chair", "from 1 to"),
        ('places = "chair"', 'places = "chairs"', "line 10: services.1.places", "there are chair"),
        ('places = "chair"', "", "line 8: services.1", "nobody does visit"),
        ("minutes = 30", "minutes = 0", "line 11: services.1.minutes", "from 1 to"),
        ("minutes = 30", 'minutes = "30"', "line 11: services.1.minutes", "whole number"),
        ("minutes = 30", "minutes = 600", "line 11: services.1.minutes", "longer than the opening hours of every day"),
        ("minutes = 30", "minuten = 30", "line 11: services.1.minuten", "allowed are name"),
        ("minutes = 30", "minutes = 30\nstep = 15", "line 12: services.1.step", "step_minutes"),
        ("[places]", "[place]", "line 6: place", "between quotes"),
        ("[hours]", "[times]", "line 4: times", "allowed are"),
        ("minutes = 30", 'minutes = 30\n[[people]]\nname = "Al"\ndoes = ["vist"]', "line 14: people.1.does", "visit"),
        ("minutes = 30", 'minutes = 30\n[[people]]\nname = "Al"\ndoes = ["visit"]', "line 10", "one or the other"),
        ("minutes = 30", 'minutes = 30\n[[people]]\nname = "Al"', "line 12: people.1.does", "does nothing"),
        ("minutes = 30", 'minutes = 30\n[[services]]\nname = "Visit"\nplaces = "chair"\nminutes = 5', "line 13", "two"),
        ("minutes = 30", 'minutes = 30\n[[special_days]]\non = "24 Dec"\nhours = "closed"', "line 13", '"12-24"'),
        (
            "minutes = 30",
            'minutes = 30\n[[special_days]]\non = "02-30"\nhours = "closed"',
            "line 13",
            "does not exist in the calendar",
        ),
        ("minutes = 30", 'minutes = 30\n[[special_days]]\non = "12-24"', "line 12: special_days.1", "hours is missing"),
        (
            "minutes = 30",
            'minutes = 30\nspecial_days = [{ on = "12-24", hours = "closed" }]',
            "line 12: services.1.special_days",
            "not known here",
        ),
        (
            "minutes = 30",
            'minutes = 30\n[[special_days]]\non = "12-24 to 12-26"\nhours = "closed"\n'
            '[[special_days]]\non = "12-26"\nhours = "closed"',
            "line 16: special_days.2.on",
            "overlaps 12-24 to 12-26",
        ),
        ("minutes = 30", 'minutes = 30\n[after_hours]\ngreeting = "Hi"', "line 12: after_hours", "offer is missing"),
    ],
)
def test_the_error_for_a_mistake_has_the_line_and_the_key_and_the_allowed_values(
    old: str, new: str, where: str, words: str
) -> None:
    assert old in SMALL
    found = mistakes(SMALL.replace(old, new, 1))
    assert any(where in each and words in each for each in found), found


def test_all_mistakes_are_named_at_once_in_the_order_of_the_file() -> None:
    text = SMALL.replace("09:00", "9").replace("minutes = 30", "minutes = 0\ncolour = 1").replace("New_York", "Mars")
    assert [each.split(":")[0] for each in mistakes(text)] == [
        f"business.toml, line {number}" for number in (3, 5, 11, 12)
    ]


@pytest.mark.parametrize("text", ["name = ", "[hours", '"', "name = 1\nname = 2"])
def test_the_error_for_a_file_that_is_not_toml_names_the_line(text: str) -> None:
    assert "line" in mistakes(text)[0]


def test_line_numbers_of_mistakes_are_right_after_comments_quoted_keys_and_strings_of_several_lines() -> None:
    text = SMALL.replace('name = "Small"', 'name = """\nSmall # no comment\n"""\n# one "more\nplace = \'\'\'x\'\'\'')
    assert any(
        "line 15: services.1.minutes" in each for each in mistakes(text.replace("minutes = 30", '"minutes" = 0'))
    )


def hours(day: str, more: str = "") -> list[str]:
    business = parse(SMALL + more)
    spans = hours_on(business, dt.date.fromisoformat(day))
    return [f"{moment_of(start, business.tz):%H:%M}-{moment_of(end, business.tz):%H:%M}" for start, end in spans]


def test_special_days_replace_the_hours_of_the_week_and_a_date_with_a_year_has_precedence() -> None:
    more = '[[special_days]]\non = "12-24 to 01-02"\nhours = "closed"\n'
    more += '[[special_days]]\non = 2026-12-31\nhours = "10:00-12:00"\n'
    assert hours("2026-12-23", more) == ["09:00-17:00"]
    assert hours("2026-12-24", more) == []
    assert hours("2026-12-31", more) == ["10:00-12:00"]
    assert hours("2027-12-31", more) == []
    assert hours("2027-01-01", more) == []
    assert hours("2027-01-04", more) == ["09:00-17:00"]


def test_short_answers_are_in_the_prompt_up_to_the_budget_and_the_others_are_looked_up() -> None:
    answers = "".join(f'[[answers]]\nabout = "subject {n}"\nanswer = "{"words " * 20}{n}"\n' for n in range(40))
    answers += '[[answers]]\nabout = "the long one"\nanswer = "' + "long " * 90 + '"\n'
    known = told(parse(SMALL + answers))
    inside = [n for n in range(40) if f"subject {n}: words" in known.text]
    assert inside == list(range(len(inside)))
    assert 3 < len(inside) < 40
    assert [each.about for each in known.looked_up][-1] == "the long one"
    assert known.text.endswith(", and other questions about the business.")
    assert "the long one" not in known.text
    assert tokens("\n".join(line for line in known.text.splitlines() if line.startswith("subject"))) <= ANSWERS_TOKENS
    assert len(inside) + len(known.looked_up) == 41


def _services(number: int, name: str) -> str:
    return "".join(
        f'[[services]]\nname = "{name} {n}"\nplaces = "chair"\nminutes = 5\nprice = "{n} dollars"\n'
        for n in range(number)
    )


def test_a_long_list_of_services_is_cut_in_the_prompt() -> None:
    assert tokens(told(parse(SMALL + _services(200, "treatment number"))).text) < 800


def _line(text: str, begins: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(begins))


def test_services_that_do_not_fit_into_the_prompt_are_named_there_after_those_that_fit() -> None:
    name = "a treatment with a name that is quite long, with number"  # 55 characters
    text = told(parse(SMALL + _services(20, name))).text
    listed = re.findall(rf"{name} \d+", _line(text, "What can be booked: "))
    also = _line(text, "Also: ")
    named = re.findall(rf"{name} \d+", also)
    assert listed + named == [f"{name} {n}" for n in range(len(listed) + len(named))]
    assert named
    assert also.endswith(" (check_availability knows them all).")


def test_a_service_is_found_by_its_other_names_but_is_not_guessed() -> None:
    business = load(folder("prompts") / "business.barber.toml")
    for words, name in {
        "haircut": "haircut", "a Haircut!": "haircut", "haircuts": "haircut", "the works": "cut and beard",
        "haircut and beard trim": "cut and beard", "shave": "beard trim", "kids haircut": "children's cut",
        "lawn mowing": None, "": None,
    }.items():  # fmt: skip
        found = business.service(words)
        assert (found.name if found else None) == name, words


def test_a_person_is_found_by_a_first_name_that_nobody_else_has() -> None:
    text = SMALL.replace('places = "chair"\n', "") + "".join(
        f'[[people]]\nname = "{name}"\ndoes = ["visit"]\n' for name in ("Maria Lopez", "Tom Hale", "Tom Wood")
    )
    business = parse(text)
    for said, name in {"maria": "Maria Lopez", "Tom Wood": "Tom Wood", "Tom": None, "Zoe": None}.items():
        found = business.person(said)
        assert (found.name if found else None) == name
