"""A function's signature gives its schema and the checks of its arguments. A broken function is refused by name."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta
from openai.types.realtime import RealtimeFunctionTool

from relay.functions.arguments import BadArguments, Phone, bind, schema, signature
from relay.functions.outcome import OUTPUT_LIMIT_BYTES, at_a_word, envelope
from relay.functions.registry import CallContext, FunctionRefused, Registry, function, load, run
from tests.helpers.business_play import CALLER, a_call, business, says, standin

BUILT_IN = {
    "lookup_hours", "lookup_answer", "check_availability", "book_appointment", "cancel_or_move_appointment",
    "lookup_caller",
    "transfer_to_human", "take_message", "end_call", "wait_for_user",
}  # fmt: skip
WRITES = {"book_appointment", "cancel_or_move_appointment", "take_message"}


async def example(
    call: CallContext,
    kind: Annotated[Literal["table", "bar"], Meta(description="Where.")],
    start: Annotated[dt.datetime, Meta(description="When.")],
    people: Annotated[int, Meta(ge=1, le=12)] = 2,
    phone: Annotated[Phone | None, Meta(description="Whose.")] = None,
    day: dt.date | None = None,
    at: dt.time | None = None,
    notes: Annotated[str, Meta(max_length=20)] = "",
) -> dict[str, Any]:
    """An example.

    Not for the model.
    """
    return {"kind": kind, "start": start, "people": people, "phone": phone, "day": day, "at": at, "notes": notes}


async def outcome_of(body: Any, arguments: str = "{}", **options: Any) -> Any:
    offered = function(**options)(body)
    async with business(standin()) as (backend, _):
        return await run(Registry({offered.name: offered}), a_call(backend), offered.name, arguments)


def test_all_built_in_functions_are_found_and_have_the_form_that_openai_requires() -> None:
    registry = load()
    assert {each.name for each in registry} == BUILT_IN
    assert {each.name for each in registry if each.writes} == WRITES
    assert [each.name for each in registry if each.silent] == ["wait_for_user"]
    for tool in registry.tools():
        RealtimeFunctionTool.model_validate(tool)
        assert set(tool) == {"type", "name", "description", "parameters"}
        assert tool["parameters"]["type"] == "object"
        assert "$ref" not in json.dumps(tool)
        assert "\n" not in tool["description"]
        for name, argument in tool["parameters"]["properties"].items():
            assert argument.get("description"), f"{tool['name']}.{name} has no description"


def test_every_text_argument_has_a_longest_length() -> None:
    for tool in load().tools():
        for name, argument in tool["parameters"]["properties"].items():
            if argument.get("type") == "string" and "format" not in argument and name not in ("start", "new_start"):
                assert argument["maxLength"] <= 500, f"{tool['name']}.{name}"


def test_no_function_lets_the_model_choose_a_number_to_dial() -> None:
    transfer = load().get("transfer_to_human")
    assert transfer is not None
    assert set(transfer.parameters["properties"]) == {"reason", "summary"}


def test_the_schema_comes_from_the_signature() -> None:
    assert schema(signature(example)) == {
        "type": "object",
        "properties": {
            "kind": {"description": "Where.", "enum": ["bar", "table"]},
            "start": {"description": "When.", "type": "string"},
            "people": {"type": "integer", "minimum": 1, "maximum": 12, "default": 2},
            "phone": {
                "description": "Whose.",
                "anyOf": [{"type": "string", "maxLength": 32}, {"type": "null"}],
                "default": None,
            },
            "day": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "default": None},
            "at": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "notes": {"type": "string", "maxLength": 20, "default": ""},
        },
        "required": ["kind", "start"],
        "additionalProperties": False,
    }


NEARLY = {"kind": "table", "start": "2026-11-24T19:00"}


@pytest.mark.parametrize(
    ("given_", "field", "value"),
    [
        ({}, "start", dt.datetime.fromisoformat("2026-11-24T19:00")),
        ({"start": "2026-11-24 19:00:00"}, "start", dt.datetime.fromisoformat("2026-11-24T19:00")),
        ({"people": "4"}, "people", 4),
        ({"people": None}, "people", 2),
        ({"phone": "(212) 555-0199"}, "phone", "+12125550199"),
        ({"phone": "1-212-555-0199"}, "phone", "+12125550199"),
        ({"phone": "00 44 20 7946 0000"}, "phone", "+442079460000"),
        ({"phone": "212\u2011555\u20130199"}, "phone", "+12125550199"),  # the hyphens that models write
        ({"phone": ""}, "phone", CALLER),
        ({}, "phone", CALLER),
        ({"day": ""}, "day", None),
        ({"day": "2026-11-24T19:00:00"}, "day", dt.date(2026, 11, 24)),
        ({"at": "19:30"}, "at", dt.time(19, 30)),
        ({"notes": "  a\u0000b \n c "}, "notes", "a b   c"),
        ({"notes": "\u202ea\u2066b\u200b"}, "notes", "a b"),  # invisible characters that change the direction of text
        ({"notes": "\u0915\u094d\u200d\u0937"}, "notes", "\u0915\u094d\u200d\u0937"),  # a joiner is part of the word
    ],
)
def test_arguments_with_small_mistakes_of_form_are_understood(given_: dict[str, Any], field: str, value: Any) -> None:
    bound = bind(signature(example), says(NEARLY | given_), CALLER, "US")
    assert getattr(bound, field) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no JSON"),
        ("[]", "JSON object"),
        ("5", "JSON object"),
        ("[" * 4000, "no JSON"),
        ('{"kind":' + "[" * 1900 + "]" * 1900 + "}", "recursion"),  # valid JSON, but nested too deeply
        ("x" * 5000, "longer than"),
        ("", "kind"),
        (says(NEARLY | {"kind": "terrace"}), "kind"),
        (says(NEARLY | {"start": "tomorrow"}), "`start` must be a date and a time"),
        (says(NEARLY | {"start": "2026-11-24"}), "`start`"),
        (says(NEARLY | {"start": 1764000000}), "`start`"),
        (says(NEARLY | {"start": "1764000000"}), "`start`"),
        (says(NEARLY | {"people": 13}), "`people`"),
        (says(NEARLY | {"people": "many"}), "`people`"),
        (says(NEARLY | {"phone": "12"}), "`phone`"),
        (says(NEARLY | {"phone": "+1 555 0199"}), "`phone`"),  # no area code
        (says(NEARLY | {"phone": "+1\u0662\u0661\u0662\u0665\u0665\u0665\u0660\u0661\u0669\u0669"}), "`phone`"),
        (says(NEARLY | {"phone": 2125550199}), "`phone`"),
        (says(NEARLY | {"day": "2026-02-30"}), "`day`"),
        (says(NEARLY | {"notes": "x" * 21}), "`notes`"),
        (says(NEARLY | {"number_to_dial": "+19005550100"}), "number_to_dial"),
        ('{"kind":"table","start":"2026-11-24T19:00","notes":"\\ud800"}', "no JSON"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_a_sentence(text: str, words: str) -> None:
    with pytest.raises(BadArguments, match="(?s)" + words):
        bind(signature(example), text, CALLER, "US")


def test_a_number_of_ten_digits_without_a_country_code_is_refused_outside_north_america() -> None:
    with pytest.raises(BadArguments, match="the country code before it"):  # the message says which part is missing
        bind(signature(example), says(NEARLY | {"phone": "020 7946 0000"}), CALLER, "GB")


@given(st.text() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_no_arguments_make_the_registry_fail(text: str) -> None:
    with pytest.raises(BadArguments):
        bind(signature(example), text, "", "US")


async def _no_type(call: CallContext, thing) -> dict[str, Any]:  # type: ignore[no-untyped-def]  # that is the case
    """Thing."""
    return {}


async def _stars(call: CallContext, *things: str) -> dict[str, Any]:
    """Thing."""
    return {}


async def _no_call(thing: str) -> dict[str, Any]:
    """Thing."""
    return {}


async def Shouted(call: CallContext) -> dict[str, Any]:  # noqa: N802  # its capital letter is the mistake
    """Thing."""
    return {}


async def _no_words(call: CallContext) -> dict[str, Any]:
    return {}


def _not_async(call: CallContext) -> dict[str, Any]:
    """Thing."""
    return {}


async def _unknown_type(call: CallContext, thing: Nowhere) -> dict[str, Any]:  # type: ignore[name-defined]  # noqa: F821
    """Thing."""
    return {}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (_no_type, "thing has no type"),
        (_stars, "things"),
        (_no_call, "first parameter"),
        (Shouted, "a-z"),
        (_no_words, "docstring"),
        (_not_async, "async def"),
        (_unknown_type, "Nowhere"),
    ],
)
def test_the_error_for_a_broken_function_names_it(body: Any, words: str) -> None:
    with pytest.raises(FunctionRefused, match=f"function {body.__name__} in tests.*{words}"):
        function()(body)


def test_a_deadline_that_is_not_a_positive_number_is_refused() -> None:
    with pytest.raises(FunctionRefused, match="deadline"):
        function(deadline_s=0)(example)


MINE = """
from relay.functions import CallContext, function

@function(holding="Let me ask the chef.")
async def {name}(call: CallContext, dish: str) -> dict[str, str]:
    \"\"\"Is there some left of a dish?\"\"\"
    return {{"dish": dish, "left": "plenty"}}
"""


def _package(path: Path, monkeypatch: pytest.MonkeyPatch, name: str, **files: str) -> str:
    (path / name).mkdir()
    (path / name / "__init__.py").write_text('"""Ours."""\n')
    for file, text in files.items():
        (path / name / f"{file}.py").write_text(text)
    monkeypatch.syspath_prepend(path)
    return name


async def test_the_operators_package_adds_functions_and_can_replace_built_in_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = _package(
        tmp_path, monkeypatch, "chef_one", dish=MINE.format(name="ask_chef"), hours=MINE.format(name="lookup_hours")
    )
    registry = load(mine)
    assert {each.name for each in registry} == BUILT_IN | {"ask_chef"}
    assert registry.holding()["lookup_hours"] == "Let me ask the chef."
    async with business(standin()) as (backend, _):
        outcome = await run(registry, a_call(backend), "ask_chef", '{"dish": "crab"}')
    assert json.loads(outcome.output) == {"status": "ok", "dish": "crab", "left": "plenty"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"dish": "def broken(:\n"}, r"chef_\d\.dish cannot be imported: SyntaxError"),
        ({"dish": "import nothing_like_this\n"}, "nothing_like_this"),
        (
            {"dish": MINE.format(name="ask").replace("dish: str", "dish")},
            r"function ask in chef_\d\.dish: argument dish",
        ),
        (
            {"a": MINE.format(name="ask"), "b": MINE.format(name="ask")},
            r"function ask is in chef_\d\.a and in chef_\d\.b",
        ),
        ({}, r"chef_\d holds no function"),
    ],
)
def test_the_error_for_a_broken_package_at_the_start_names_it(
    files: dict[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    name = f"chef_{2 + sum(request.node.name.encode()) % 7}"
    monkeypatch.setattr(
        "sys.modules", {k: v for k, v in __import__("sys").modules.items() if not k.startswith("chef_")}
    )
    with pytest.raises(FunctionRefused, match=words):
        load(_package(tmp_path, monkeypatch, name, **files))


def test_the_error_for_a_missing_package_names_it() -> None:
    with pytest.raises(FunctionRefused, match=r"no_such_package cannot be imported: .* looked for beside relay/"):
        load("no_such_package")


async def test_the_answer_to_an_unknown_function_has_the_names_of_the_known_functions() -> None:
    async with business(standin()) as (backend, _):
        outcome = await run(load(), a_call(backend), "drop_tables\u0000" * 50, "{}")
    assert not outcome.ok
    assert "lookup_hours" in json.loads(outcome.output)["next"]
    assert not outcome.is_known


async def test_an_outcome_says_where_the_callers_name_comes_from() -> None:
    async with business(standin()) as (backend, _):
        found = {name: await run(load(), a_call(backend), name, "{}") for name in ("lookup_caller", "lookup_hours")}
    assert {name: (each.is_known, each.names_caller) for name, each in found.items()} == {
        "lookup_caller": (True, "known"),
        "lookup_hours": (True, None),
    }


async def test_a_bug_in_a_function_gives_an_output_and_an_error_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    async def stumble(call: CallContext) -> dict[str, Any]:
        """Stumble."""
        return {"share": 1 // len("")}

    outcome = await outcome_of(stumble)
    assert (outcome.ok, json.loads(outcome.output)["status"]) == (False, "error")
    assert "ZeroDivisionError" in outcome.error
    assert "ZeroDivisionError" not in outcome.output
    assert "Traceback" in capsys.readouterr().out


async def test_a_result_that_is_not_json_counts_as_a_bug_in_the_function() -> None:
    async def confuse(call: CallContext) -> dict[str, Any]:
        """Confuse."""
        return {"thing": object()}

    outcome = await outcome_of(confuse)
    assert not outcome.ok
    assert "TypeError" in outcome.error


@pytest.mark.parametrize("result", ["Four are left.", ["four"], 4, ({"left": 4}, "four"), ({"left": 4},), b"four"])
async def test_a_result_of_a_wrong_type_counts_as_a_bug_and_not_as_an_effect(result: Any) -> None:
    async def confuse(call: CallContext) -> Any:
        """Confuse."""
        return result

    outcome = await outcome_of(confuse)
    assert (outcome.ok, outcome.effect) == (False, None)  # with an unknown effect the caller would get no answer
    assert outcome.error


@pytest.mark.parametrize(("status", "ok"), [("shipped", True), (None, True), ("ok", True), ("error", False)])
async def test_only_the_status_error_makes_the_result_of_an_operators_function_a_failure(
    status: str | None, ok: bool
) -> None:
    async def order_status(call: CallContext) -> dict[str, Any]:
        """Where an order is."""
        return {"status": status}

    outcome = await outcome_of(order_status)
    assert outcome.ok == ok
    assert json.loads(outcome.output)["status"] == status


async def test_a_phone_number_may_be_in_a_result() -> None:
    outcome = await outcome_of(example, says(NEARLY | {"phone": "212 555 0199"}))
    assert json.loads(outcome.output)["phone"] == "+12125550199"


async def test_a_refusal_from_inside_a_nursery_is_recognised() -> None:
    from relay.functions.registry import NotPossible

    async def refuse() -> None:
        raise NotPossible("Not today.", free=["tomorrow"])

    async def nest(call: CallContext) -> dict[str, Any]:
        """Nest."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)
        return {}

    outcome = await outcome_of(nest)
    assert json.loads(outcome.output) == {"status": "error", "error": "Not today.", "free": ["tomorrow"]}


@pytest.mark.parametrize(("writes", "words"), [(False, "did not work"), (True, "not known whether it was done")])
async def test_the_output_of_a_function_that_exceeds_its_deadline_says_that_it_took_too_long(
    writes: bool, words: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def dawdle(call: CallContext) -> dict[str, Any]:
        """Dawdle."""
        await trio.sleep(60)
        return {}

    outcome = await outcome_of(dawdle, deadline_s=1.5, writes=writes)
    assert (outcome.ok, outcome.writes, outcome.took_s) == (False, writes, pytest.approx(1.5))
    assert words in json.loads(outcome.output)["next"]
    assert "1.5 s" in outcome.error


async def test_the_end_of_a_call_cancels_its_function(autojump_clock: trio.testing.MockClock) -> None:
    async def dawdle(call: CallContext) -> dict[str, Any]:
        """Dawdle."""
        await trio.sleep(60)
        return {}

    with trio.move_on_after(0.5) as scope:
        await outcome_of(dawdle)
    assert scope.cancelled_caught


async def test_a_function_that_only_reads_may_not_write() -> None:
    async def sneak(call: CallContext) -> dict[str, Any]:
        """Sneak."""
        return {"key": call.idempotency_key}

    outcome = await outcome_of(sneak)
    assert not outcome.ok
    assert outcome.key is None


def test_a_short_result_stays_as_it_is() -> None:
    assert json.loads(envelope({"open": "11 AM"})) == {"status": "ok", "open": "11 AM"}
    assert json.loads(envelope({"status": "error", "error": "no"})) == {"status": "error", "error": "no"}


def test_a_long_list_keeps_whole_elements_and_says_how_many_are_missing() -> None:
    output = envelope({"slots": [{"start": f"2026-11-24T{n:02}:00", "say": f"{n} o'clock"} for n in range(100)]})
    kept = json.loads(output)
    assert len(output.encode()) <= OUTPUT_LIMIT_BYTES
    assert len(kept["slots"]) + kept["more"]["slots"] == 100
    assert all(set(each) == {"start", "say"} for each in kept["slots"])
    assert len(kept["slots"]) >= 10, "more elements were left out than necessary"


def test_a_long_text_ends_at_a_word() -> None:
    text = json.loads(envelope({"notes": "the quick brown fox " * 200}))["notes"]
    assert text.endswith(("the…", "quick…", "brown…", "fox…"))
    assert at_a_word("one two", 7) == "one two"
    assert len(at_a_word("x" * 50, 20)) == 20


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=80), inner, max_size=12),
    max_leaves=20,
)


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), _JSON, max_size=12),
    st.integers(1, 40),
)
def test_every_result_is_complete_json_of_a_kilobyte_at_most(some: dict[str, Any], times: int) -> None:
    result = {f"{name}{n}": [value] * n for n in range(times) for name, value in some.items()}
    output = envelope(result)
    assert len(output.encode()) <= OUTPUT_LIMIT_BYTES
    assert json.loads(output)["status"] == "ok"


def test_a_huge_result_of_any_shape_is_complete_json() -> None:
    deep: Any = "x"
    for _ in range(50):
        deep = {"in": [deep] * 3}
    for result in (
        {f"field_{n}": "words " * 50 for n in range(500)},
        {"n": 10**3000},
        {"k" * 3000: 1},
        {"rows": [["a" * 300] * 50] * 50},
        {"euro": "\u20ac" * 3000},
    ):
        output = envelope(result)
        assert len(output.encode()) <= OUTPUT_LIMIT_BYTES
        assert json.loads(output)["status"] == "ok"
