"""Explains a mistake in a scenario's file to its author: where it is, and what is allowed there.

Pure. msgspec's own message says what is wrong and where, but not what is allowed.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec.inspect import DictType, LiteralType, StructType, Type, UnionType, VarTupleType, type_info

_STEP = re.compile(r"\.(\w+)|\[(?:(\d+)|\.\.\.)\]")


def in_words(error: msgspec.ValidationError, shape: Any) -> str:
    """Turn msgspec's message about a table of type `shape` into a sentence for the author.

    Example: `expect.ended_by: Invalid enum value 'me'; there are: ...`.
    """
    words, _, path = str(error).partition(" - at `$")
    kinds, place = [type_info(shape)], ""
    for name, index in _STEP.findall(path):
        kinds = [inner for kind in kinds for inner in _inside(kind, name)]
        place += f".{name}" if name else f" {int(index) + 1}" if index else ""
    if words.startswith(("Invalid enum value", "Object contains unknown field")):
        known = sorted({each for kind in kinds for each in _known(kind)})
        words = f"{words.replace('Object contains ', '')}; there are: {', '.join(known)}"
    return f"{place[1:]}: {words}" if place else words


def _inside(kind: Type, name: str) -> list[Type]:
    """The types that the field `name` of this type may have. If `name` is empty: the types of its elements."""
    match kind:
        case UnionType(types=types):
            return [inner for each in types for inner in _inside(each, name)]
        case StructType(fields=fields):
            return [field.type for field in fields if field.name == name]
        case VarTupleType(item_type=item) | DictType(value_type=item) if not name:
            return [item]
        case _:
            return []


def _known(kind: Type) -> list[str]:
    match kind:
        case UnionType(types=types):
            return [word for each in types for word in _known(each)]
        case LiteralType(values=values):
            return [str(value) for value in values]
        case StructType(fields=fields):
            return [field.name for field in fields]
        case _:
            return []
