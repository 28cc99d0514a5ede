"""Finds the functions that a model may call, and runs them.

A function is an async Python function with the decorator `@function`. The model gets only its name, its
signature, and the first paragraph of its docstring. The decorator declares what the relay must know: for example, the
deadline, whether the function writes, and what the caller hears while it runs.
"""

from __future__ import annotations

import datetime as dt
import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Callable, Collection, Coroutine, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import structlog
import trio

from relay.functions.arguments import BadArguments, bind, schema, signature
from relay.functions.backend.contract import BackendFault, Refused, Taken
from relay.functions.backend.port import BackendPort
from relay.functions.idempotency import Once, Wish
from relay.functions.invented import invented
from relay.functions.outcome import (
    Effect,
    EndCall,
    NamesCaller,
    NotPossible,
    Outcome,
    StaySilent,
    TakeMessage,
    TransferCall,
    at_a_word,
    envelope,
)

__all__ = [
    "CallContext", "Effect", "EndCall", "Function", "FunctionRefused", "NotPossible", "Outcome", "Registry",
    "StaySilent", "TakeMessage", "TransferCall", "function", "load", "run",
]  # fmt: skip

NAME: Final = re.compile(r"^[a-z_]{1,64}$")
DEADLINE_S: Final = 2.5  # The deadline of a function that declares none. A request to the backend has the same limit.
_DONT_CLAIM: Final = (
    "It is not known whether it was done: do not say that it was. "
    "Try once more with the same arguments, or offer to take a message."
)
# Functions in this package write through the backend's port. In a dry test call, this port books nothing real.
OURS: Final = "relay.functions.builtin."
_NOT_RUN: Final = "This is a test call, so nothing was done. Say that it is done, as in a real call."
_ELSE: Final = "Say briefly that it did not work, and try once more or offer a message or a human."

log = structlog.get_logger()
T = TypeVar("T")

Result: TypeAlias = Mapping[str, Any] | Effect | tuple[Mapping[str, Any], Effect]


class FunctionRefused(Exception):
    """A function cannot be offered to a model. The message names the function, and says what must be changed."""


class CallerSaid(Protocol):
    """What functions may ask about the caller's own words."""

    @property
    def turn(self) -> int:
        """The number of the caller's newest turn. A question to the caller can only be answered in a later turn."""

    async def have(self, value: str) -> bool:
        """True if the caller has said this name or number."""


@dataclass(frozen=True)
class CallContext:
    """What a function gets from its call. `caller_number` is E.164, or "" if the number is hidden."""

    call_sid: str
    caller_number: str
    business: BackendPort
    tz: ZoneInfo
    now: Callable[[], dt.datetime]
    once: Once = field(default_factory=Once)
    country: str = "US"
    # The ids of the appointments that are known to be this caller's. Only these appointments can be changed.
    own_ids: set[str] = field(default_factory=set)
    # Answers that do not fit into the prompt, by subject.
    answers: Mapping[str, str] = field(default_factory=dict)
    # False if the network does not vouch for the caller's number, so that it may be somebody else's. Then the number
    # alone is not enough to tell or change anything.
    attested: bool = True
    key: str | None = None
    caller_words: CallerSaid | None = None  # None if the caller's words are not known, as in tests.
    is_dry: bool = False  # True in a test call that must change nothing: the owner's functions that write are not run.

    def believe(self, value: str | None) -> None:
        """Note that this name or number is real, so that it does not count as invented."""
        if value:
            self.once.questions.believe(_is_it_real(value))

    @property
    def idempotency_key(self) -> str:
        """The idempotency key of the present write. Raises RuntimeError in a function that does not write."""
        if self.key is None:
            raise RuntimeError("only a function declared with writes=True may write")
        return self.key


@dataclass(frozen=True)
class Function:
    """A function of the registry. Tests can call this object like the Python function itself."""

    name: str
    description: str
    body: Callable[..., Coroutine[Any, Any, Result]]
    arguments: type[msgspec.Struct]
    parameters: dict[str, Any]
    module: str
    deadline_s: float
    writes: bool
    holding: str | None
    silent: bool
    same: tuple[str, ...] | None = None
    about: str | None = None
    tells: bool | None = None
    names_caller: NamesCaller | None = None

    @property
    def has_news(self) -> bool:
        """False if the result has nothing that the caller must hear."""
        return self.tells is not False

    async def __call__(self, call: CallContext, **arguments: Any) -> Result:
        return await self.body(call, **arguments)


def function(
    *,
    deadline_s: float = DEADLINE_S,
    writes: bool = False,
    holding: str | None = None,
    silent: bool = False,
    same: tuple[str, ...] | None = None,
    about: str | None = None,
    tells: bool | None = None,
    names_caller: NamesCaller | None = None,
) -> Callable[[Callable[..., Coroutine[Any, Any, Result]]], Function]:
    """Offer an async function to the model. The first paragraph of its docstring is the description.

    `deadline_s`: the longest time that the function may take.
    `writes`: True if it changes anything.
    `holding`: what the caller hears if the function takes longer than 700 ms. If it is None, no such phrase is heard.
    `silent`: no phrase is said while it runs. This is for functions that return StaySilent.
    `same`, if it writes: two function calls with equal values of these arguments are the same wish. If other arguments
    differ, the agent asks the caller before the function runs again. If `same` is None, all arguments count.
    `about`, if it writes: the kind of thing whose `id` is in the result, such as "appointment". If two functions have
    the same `about`, the later one undoes what the earlier one did to the thing with the same id.
    `tells`: False if the result has nothing that the caller must hear.
    `names_caller`: the `name` in the result is the caller's, as the business knows it ("known") or as the caller said
    it ("said").

    Raises FunctionRefused, which names the function, if the function cannot be offered to a model.
    """

    def offered(body: Callable[..., Coroutine[Any, Any, Result]]) -> Function:
        name = getattr(body, "__name__", repr(body))
        try:
            arguments = signature(body)
            parameters = schema(arguments)
            _refuse_flaws(name, body, deadline_s)
            _refuse_unknown(same, arguments)
        except (ValueError, TypeError, NameError) as error:
            raise FunctionRefused(f"function {name} in {body.__module__}: {error}") from error
        first_paragraph = (inspect.getdoc(body) or "").split("\n\n")[0]
        description = " ".join(first_paragraph.split())
        return Function(
            name,
            description,
            body,
            arguments,
            parameters,
            body.__module__,
            deadline_s,
            writes,
            holding,
            silent,
            same,
            about,
            tells,
            names_caller,
        )

    return offered


def _refuse_flaws(name: str, body: Callable[..., Any], deadline_s: float) -> None:
    if not NAME.match(name):
        raise ValueError("its name may only have a-z and _, and at most 64 characters")
    if not inspect.iscoroutinefunction(body):
        raise ValueError("it must be `async def`, or it would stop every call while it runs")
    if not (inspect.getdoc(body) or "").strip():
        raise ValueError("it has no docstring, so the model would not know when to call it")
    if not 0 < deadline_s <= 60:
        raise ValueError("its deadline_s must be above 0 and at most 60")


def _refuse_unknown(same: tuple[str, ...] | None, arguments: type[msgspec.Struct]) -> None:
    unknown = sorted(set(same or ()) - set(arguments.__struct_fields__))
    if unknown:
        raise ValueError(f"`same` names {', '.join(unknown)}, which is no argument of the function")


class Registry:
    """The functions by name."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = dict(functions)

    def __iter__(self) -> Iterator[Function]:
        return iter(self._functions.values())

    def get(self, name: str) -> Function | None:
        return self._functions.get(name)

    def tools(self, without: Collection[str] = ()) -> list[dict[str, Any]]:
        """The `tools` of an OpenAI session, except those that this call cannot use."""
        return [
            {"type": "function", "name": f.name, "description": f.description, "parameters": f.parameters}
            for f in self
            if f.name not in without
        ]

    def holding(self) -> dict[str, str | None]:
        """Function -> the phrase that the caller hears while it runs. None if there is no phrase."""
        return {f.name: f.holding for f in self}


def load(package: str | None = None) -> Registry:
    """Load the built-in functions and the owner's. An owner's function replaces a built-in one of the same name.

    Raises FunctionRefused, with the name of the function or file, if a function is broken. The relay calls this when it
    starts, so a broken function is found before the first call.
    """
    found = _of_package("relay.functions.builtin")
    if package:
        found |= {name: _in_place_of(found.get(name), theirs) for name, theirs in _of_package(package).items()}
    return Registry(found)


def _in_place_of(ours: Function | None, theirs: Function) -> Function:
    """The owner's function that replaces a built-in one.

    If the owner's function does not declare `same`, `about`, `tells` or `names_caller`, the declaration of the built-in
    function is used.
    """
    if ours is None:
        return theirs
    fits = ours.same is not None and set(ours.same) <= set(theirs.arguments.__struct_fields__)
    return replace(
        theirs,
        same=ours.same if theirs.same is None and fits else theirs.same,
        about=ours.about if theirs.about is None else theirs.about,
        tells=ours.tells if theirs.tells is None else theirs.tells,
        names_caller=ours.names_caller if theirs.names_caller is None else theirs.names_caller,
    )


def _of_package(package: str) -> dict[str, Function]:
    root = _import(package)
    names = [f"{package}.{each.name}" for each in pkgutil.iter_modules(getattr(root, "__path__", []))]
    found: dict[str, Function] = {}
    for module in (root, *(_import(name) for name in names)):
        for each in vars(module).values():
            if not isinstance(each, Function) or each.module != module.__name__:
                continue  # This function was only imported into this file.
            if each.name in found and found[each.name] is not each:
                raise FunctionRefused(f"function {each.name} is in {found[each.name].module} and in {each.module}")
            found[each.name] = each
    if not found:
        raise FunctionRefused(f"{package} holds no function: decorate one with @function(...)")
    return found


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except FunctionRefused:
        raise
    except Exception as error:
        where = " (it is looked for beside relay/ and on PYTHONPATH)" if isinstance(error, ModuleNotFoundError) else ""
        raise FunctionRefused(f"{module} cannot be imported: {type(error).__name__}: {error}{where}") from error


async def run(
    registry: Registry, call: CallContext, name: str, arguments_json: str, function_call_id: str = ""
) -> Outcome:
    """Run one function call of the model's. Each error becomes an outcome."""
    began = trio.current_time()
    function = registry.get(name)
    if function is None:
        known = ", ".join(each.name for each in registry)
        failed = _failed(f"There is no function {at_a_word(name, 64)}.", f"Use one of: {known}.")
        outcome = replace(failed, is_known=False)
    else:
        try:
            outcome = await _run(function, call, arguments_json, function_call_id)
        except Exception as error:  # This is a bug of the relay. The call goes on.
            outcome = _mapped(function, error)
    names_caller = function.names_caller if function is not None else None
    return replace(outcome, took_s=trio.current_time() - began, names_caller=names_caller)


async def _run(function: Function, call: CallContext, arguments_json: str, function_call_id: str) -> Outcome:
    try:
        arguments = bind(function.arguments, arguments_json, call.caller_number, call.country)
    except BadArguments as error:
        flaw = f"Wrong arguments: {error}."
        return replace(_failed(flaw, "Correct it, or ask the caller for it."), writes=function.writes, refused=True)
    doubt = await _doubt(call, arguments)
    if doubt is not None:
        return replace(doubt, writes=function.writes)
    if call.is_dry and function.writes and not function.module.startswith(OURS):
        return Outcome(envelope({"test": True, "note": _NOT_RUN}), ok=True, writes=True)
    if not function.writes:
        return await _attempt(function, call, arguments)

    async def work(key: str, arguments: msgspec.Struct) -> Outcome:
        return replace(await _attempt(function, replace(call, key=key), arguments), writes=True, key=key)

    wish = Wish(call.call_sid, function.name, arguments, call.tz, function_call_id, function.same, function.about)
    outcome = await call.once.run(wish, work, caller_turn=call.caller_words.turn if call.caller_words else None)
    if not outcome.unsure:
        return outcome
    return replace(outcome, output=envelope(msgspec.json.decode(outcome.output) | {"next": _DONT_CLAIM}))


async def _doubt(call: CallContext, arguments: msgspec.Struct) -> Outcome | None:
    """The refusal of a value that looks invented. None if there is no such value.

    A value that the caller has said or confirms is accepted.
    """
    said = call.caller_words
    for name, value in invented(msgspec.structs.asdict(arguments), call.caller_number):
        if said is not None and await said.have(value):
            call.believe(value)
        elif not call.once.questions.is_answered(_is_it_real(value), said.turn if said is not None else None):
            short = at_a_word(value, 60)
            flaw = f"{short!r} as {name} looks made up."
            asks = f"Ask the caller for it. If they confirm that it is {short!r}, call this again like this."
            return replace(_failed(flaw, asks), refused=True, error=f"{name} looked made up")
    return None


def _is_it_real(value: str) -> str:
    return f"real: {' '.join(value.casefold().split())}"


async def _attempt(function: Function, call: CallContext, arguments: msgspec.Struct) -> Outcome:
    fields = {name: getattr(arguments, name) for name in arguments.__struct_fields__}
    steps = Steps(function.body(call, **fields))
    try:
        with trio.fail_after(function.deadline_s):
            outcome = _outcome(await steps)
    except trio.TooSlowError:
        outcome = _too_slow(function)
    except Exception as error:
        outcome = _mapped(function, _innermost(error))
    return replace(outcome, blocked_s=steps.longest_s)


@dataclass(slots=True)
class Steps(Generic[T]):
    """Runs a coroutine and measures it. Await this object once in place of the coroutine.

    `longest_s`: the longest time between two awaits (real seconds). In this time nothing else runs in the event loop:
    no call hears or says anything.
    """

    _work: Coroutine[Any, Any, T]
    longest_s: float = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        answer: Any = None
        error: BaseException | None = None
        while True:
            began_s = time.perf_counter()
            try:
                wait = self._work.send(answer) if error is None else self._work.throw(error)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            finally:
                self.longest_s = max(self.longest_s, time.perf_counter() - began_s)
            answer, error = None, None
            try:
                answer = yield wait
            except BaseException as thrown:
                error = thrown


def _innermost(error: Exception) -> BaseException:
    """The error inside groups that have only one error. Nurseries raise such groups."""
    inner: BaseException = error
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner


def _mapped(function: Function, error: BaseException) -> Outcome:
    if isinstance(error, NotPossible):
        output = {"status": "error", "error": error.words, **error.fields}
        return Outcome(envelope(output), ok=False, error=error.words, refused=True, is_no=True)
    if isinstance(error, Taken):
        return replace(_failed("That time is taken.", "Offer another time."), refused=True, is_no=True)
    if isinstance(error, Refused) and error.is_explained:
        next_step = "Tell the caller, and ask what they would like instead."
        return replace(_failed(error.told, next_step), refused=True, is_no=True)
    if isinstance(error, BackendFault):
        unsure = function.writes and error.may_have_happened
        failed = _failed(error.told, _DONT_CLAIM if unsure else _ELSE, reason=error.reason)
        return replace(failed, error=error.words, is_no=isinstance(error, Refused))
    log.error("function.bug", function=function.name, exc_info=error)
    return replace(
        _failed("That did not work.", _DONT_CLAIM if function.writes else _ELSE),
        error=f"{function.name} has a bug: {type(error).__name__}, see the log",
    )


def _too_slow(function: Function) -> Outcome:
    words = f"{function.name} took longer than {function.deadline_s:g} s"
    return replace(_failed("It took too long.", _DONT_CLAIM if function.writes else _ELSE), error=words)


def _outcome(result: Result) -> Outcome:
    mapping: Mapping[str, Any] = {}
    effect: Effect | None = None
    if isinstance(result, tuple):
        mapping, effect = result
    elif isinstance(result, Mapping):
        mapping = result
    else:
        effect = result
    if not isinstance(effect, Effect | None):
        raise TypeError(f"it returned {type(effect).__name__}: return a mapping, an effect, or both as a tuple")
    # Only the status "error" is a failure. A function may use any other status for itself, such as that of an order.
    return Outcome(envelope(mapping), ok=mapping.get("status") != "error", effect=effect)


def _failed(error: str, next_step: str, reason: str = "") -> Outcome:
    because = {"reason": reason} if reason else {}
    output = envelope({"status": "error", "error": error, **because, "next": next_step})
    return Outcome(output, ok=False, error=error, unsure=next_step is _DONT_CLAIM)
