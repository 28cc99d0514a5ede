"""Makes a JSON schema from a Python signature, and makes checked values from the model's JSON.

The model may write anything. So the length of its JSON is limited, control characters become blanks, and each value
must have the type of the signature. Two common mistakes are corrected (`_loosen`). A number that the model has written
as text is read as a number.
"""

from __future__ import annotations

import datetime as dt
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

ARGUMENTS_LIMIT_CHARS: Final = 4096  # The longest argument of a built-in function is a message of 500 characters.
# Characters that are not text. One or more of them in a row become one blank. Postgres refuses NUL. Other control
# characters break log lines. Invisible characters change the direction of the text around them, or make a name that
# looks empty. Joiners (U+200C, U+200D) are kept, because some scripts need them.
_CONTROLS: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]+"
)
_NANP: Final = frozenset({"US", "CA", "PR", "DO", "JM", "BS", "BB", "TT"})  # Countries with the code +1 (not all).


class BadArguments(ValueError):
    """The model's arguments do not fit the signature.

    The message names the argument, and says what is wrong with it.
    """


class Phone(str):
    """A phone number in E.164, such as +12125550123.

    If the model leaves out an optional argument of this type, `bind` fills in the caller's own number.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str, country: str) -> Phone:
        """Read a number in any usual form. Without a country code, it must be a number of a _NANP country.

        Raises ValueError. Its message is for the model.
        """
        digits = re.sub(r"[\s().\-/\u2010-\u2015]", "", text)
        if digits.startswith("00"):
            digits = "+" + digits[2:]
        if not digits.startswith("+") and country in _NANP and re.fullmatch(r"1?[2-9][0-9]{9}", digits):
            digits = "+1" + digits[-10:]
        if not re.fullmatch(r"\+(?:1[2-9][0-9]{9}|[2-9][0-9]{6,14})", digits):
            raise ValueError(
                "is no complete phone number: write + and the country code before it, or ask for what is missing"
            )
        return cls(digits)


def plain(value: object) -> str:
    """Encode a Phone for msgspec (`enc_hook`). Raises TypeError for any other type that is not JSON."""
    if isinstance(value, Phone):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def signature(function: Callable[..., Any]) -> type[msgspec.Struct]:
    """The arguments after the first one (the call) as a struct type.

    Raises ValueError if the signature cannot be offered to a model. The message says what is wrong.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].name != "call":
        raise ValueError("its first parameter must be `call: CallContext`")
    fields: list[Any] = []
    for parameter in parameters[1:]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValueError(f"*{parameter.name} cannot be shown to a model: name each argument")
        if parameter.name not in hints:
            raise ValueError(f"argument {parameter.name} has no type")
        default = () if parameter.default is parameter.empty else (parameter.default,)
        fields.append((parameter.name, hints[parameter.name], *default))
    name = "".join(part.title() for part in function.__name__.split("_"))
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True, frozen=True)


def schema(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON schema of the arguments: one object without `$ref`, as OpenAI needs it.

    Raises ValueError or TypeError if a type has no schema.
    """
    whole = msgspec.json.schema(arguments, schema_hook=_schema_of)
    flat = _inline(whole, whole.get("$defs", {}), ())
    assert isinstance(flat, dict)
    flat.setdefault("required", [])
    return flat


def _schema_of(kind: type) -> dict[str, Any]:
    if kind is Phone:
        return {"type": "string", "maxLength": 32}
    raise ValueError(f"{kind!r} has no JSON schema: use str, int, date, datetime, Phone, Literal or an Enum")


def _inline(node: Any, definitions: Mapping[str, Any], seen: tuple[str, ...]) -> Any:
    if isinstance(node, list):
        return [_inline(each, definitions, seen) for each in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if reference is not None:
        name = reference.removeprefix("#/$defs/")
        if name in seen:
            raise ValueError(f"{name} contains itself")
        inner = _inline(definitions[name], definitions, (*seen, name))
        return {**inner, **{key: value for key, value in node.items() if key not in ("$ref", "$defs")}}
    return {
        # msgspec adds labels with the key "title" and a string. An argument named "title" has a mapping there, and
        # stays.
        key: _inline(value, definitions, seen)
        for key, value in node.items()
        if key != "$defs" and not (key == "title" and isinstance(value, str))
    }


def bind(arguments: type[msgspec.Struct], text: str, caller_number: str, country: str) -> msgspec.Struct:
    """Make checked values from the model's JSON. Raises BadArguments. Its message is for the model."""
    if len(text) > ARGUMENTS_LIMIT_CHARS:
        raise BadArguments(f"the arguments are longer than {ARGUMENTS_LIMIT_CHARS} characters")
    try:
        raw = _clean(msgspec.json.decode(text.encode("utf-8", "replace"))) if text.strip() else {}
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadArguments(f"the arguments are no JSON that can be read: {error}") from None
    if not isinstance(raw, dict):
        raise BadArguments("the arguments must be a JSON object")
    loose = _loosen(raw, msgspec.structs.fields(arguments))

    def hook(kind: type, value: Any) -> Any:
        if kind is Phone and isinstance(value, str):
            return Phone.parse(value, country)
        raise ValueError("must be a string" if kind is Phone else "has an unknown type")

    try:
        bound = msgspec.convert(loose, arguments, strict=False, dec_hook=hook)
    except (msgspec.ValidationError, RecursionError, OverflowError) as error:
        raise BadArguments(str(error).replace("`$.", "`")) from None
    if not caller_number:
        return bound
    own = {
        field.name: Phone(caller_number)
        for field in msgspec.structs.fields(arguments)
        if Phone in _kinds(field.type) and getattr(bound, field.name) is None
    }
    return msgspec.structs.replace(bound, **own)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _CONTROLS.sub(" ", value).strip()
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items()}
    return value


def _kinds(annotation: Any) -> frozenset[Any]:
    """The types in an annotation, without `Annotated`, and each type of a union separately."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _kinds(typing.get_args(annotation)[0])
    members = typing.get_args(annotation)
    if not members or typing.get_origin(annotation) in (list, dict, tuple, set, frozenset, typing.Literal):
        return frozenset({annotation})
    return frozenset().union(*(_kinds(each) for each in members))


def _loosen(raw: dict[str, Any], fields: tuple[msgspec.structs.FieldInfo, ...]) -> dict[str, Any]:
    """Correct two common mistakes: null or "" for an optional argument, and a time in a form that msgspec refuses."""
    loose = dict(raw)
    for field in fields:
        if field.name not in raw:
            continue
        value, kinds = raw[field.name], _kinds(field.type)
        if not field.required and (value is None or (value == "" and str not in kinds)):
            del loose[field.name]
        elif kinds & _TIMES.keys() and str not in kinds and value is not None:
            loose[field.name] = _time(field.name, value, kinds)
    return loose


_TIMES: Final[dict[Any, tuple[Callable[[str], Any], str]]] = {
    dt.datetime: (dt.datetime.fromisoformat, "a date and a time such as 2026-11-24T19:00"),
    dt.date: (lambda text: dt.datetime.fromisoformat(text).date(), "a date such as 2026-11-24"),
    dt.time: (dt.time.fromisoformat, "a time such as 19:00"),
}


def _time(name: str, value: Any, kinds: frozenset[Any]) -> Any:
    """The model's text as a date or time. Raises BadArguments.

    msgspec itself would refuse a time without seconds, and would read a number as seconds since 1970.
    """
    read, words = next(_TIMES[kind] for kind in _TIMES if kind in kinds)
    # A datetime must have a time of day, because fromisoformat would read a date alone as midnight.
    if isinstance(value, str) and (":" in value or "T" in value or dt.datetime not in kinds):
        try:
            return read(value)
        except ValueError:
            pass
    raise BadArguments(f"`{name}` must be {words}")
