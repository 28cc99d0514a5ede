"""The functions a model may call: what they are, how they are found, how one is run.

A function is one async Python function in its own file. Its signature and docstring are all the model is told;
`@function` adds the deadline, whether it writes, and what the caller hears while it takes its time.
"""

from __future__ import annotations

import datetime as dt
import importlib
import inspect
import pkgutil
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
import structlog
import trio

from relay.functions.arguments import BadArguments, bind, schema, signature
from relay.functions.backend.contract import BackendFault, Refused, Taken
from relay.functions.backend.port import BackendPort
from relay.functions.idempotency import Once, Wish
from relay.functions.outcome import Effect, EndCall, NotPossible, Outcome, StaySilent, TakeMessage, TransferCall
from relay.functions.results import at_a_word, envelope

__all__ = [
    "CallContext", "Effect", "EndCall", "Function", "FunctionRefused", "NotPossible", "Outcome", "Registry",
    "StaySilent", "TakeMessage", "TransferCall", "function", "load", "run",
]  # fmt: skip

NAME: Final = re.compile(r"^[a-z_]{1,64}$")
DEADLINE_S: Final = 2.5  # DESIGN 6: the backend's deadline
_DONT_CLAIM: Final = (
    "It is not known whether it was done: do not say that it was. "
    "Try once more with the same arguments, or offer to take a message."
)
_ELSE: Final = "Say briefly that it did not work, and try once more or offer a message or a human."

log = structlog.get_logger()

Result: TypeAlias = Mapping[str, Any] | Effect | tuple[Mapping[str, Any], Effect]


class FunctionRefused(Exception):
    """A function that cannot be given to a model; the message names it and says what to change."""


@dataclass(frozen=True)
class CallContext:
    """What a function knows of its call. `caller_number` is E.164, "" for an anonymous caller."""

    call_sid: str
    caller_number: str
    business: BackendPort
    tz: ZoneInfo
    now: Callable[[], dt.datetime]
    once: Once = field(default_factory=Once)
    country: str = "US"
    # Appointments that the backend has shown or given to this caller during this call: the only ones to be changed.
    own_ids: set[str] = field(default_factory=set)
    # What callers ask again and again and the prompt has no room for: subject -> answer.
    answers: Mapping[str, str] = field(default_factory=dict)
    # False: the caller's network does not vouch for the number, so it may be somebody else's. Nothing may be told or
    # changed on its strength alone.
    attested: bool = True
    key: str | None = None

    @property
    def idempotency_key(self) -> str:
        """The exactly-once key of the write under way. Raises RuntimeError in a function that does not write."""
        if self.key is None:
            raise RuntimeError("only a function declared with writes=True may write")
        return self.key


@dataclass(frozen=True)
class Function:
    """One function as the registry holds it. Calling it calls the Python function itself (for tests)."""

    name: str
    description: str
    body: Callable[..., Awaitable[Result]]
    arguments: type[msgspec.Struct]
    parameters: dict[str, Any]
    module: str
    deadline_s: float
    writes: bool
    holding: str | None
    silent: bool

    async def __call__(self, call: CallContext, **arguments: Any) -> Result:
        return await self.body(call, **arguments)


def function(
    *, deadline_s: float = DEADLINE_S, writes: bool = False, holding: str | None = None, silent: bool = False
) -> Callable[[Callable[..., Awaitable[Result]]], Function]:
    """Offer an async function to the model. Its docstring's first paragraph is the description.

    `holding` is said when it takes longer than 700 ms (None: nothing); `silent` means that nothing is said meanwhile,
    and goes with the effect StaySilent. Raises FunctionRefused by name when the signature or the docstring will not do.
    """

    def offered(body: Callable[..., Awaitable[Result]]) -> Function:
        name = getattr(body, "__name__", repr(body))
        try:
            arguments = signature(body)
            parameters = schema(arguments)
            _refuse_flaws(name, body, deadline_s)
        except (ValueError, TypeError, NameError) as error:
            raise FunctionRefused(f"function {name} in {body.__module__}: {error}") from error
        first_paragraph = (inspect.getdoc(body) or "").split("\n\n")[0]
        description = " ".join(first_paragraph.split())
        return Function(
            name, description, body, arguments, parameters, body.__module__, deadline_s, writes, holding, silent
        )

    return offered


def _refuse_flaws(name: str, body: Callable[..., Any], deadline_s: float) -> None:
    if not NAME.match(name):
        raise ValueError("its name may hold a-z and _ only, 64 at most")
    if not inspect.iscoroutinefunction(body):
        raise ValueError("it must be `async def`, or it would stop every call while it runs")
    if not (inspect.getdoc(body) or "").strip():
        raise ValueError("it has no docstring, so the model would not know when to call it")
    if not 0 < deadline_s <= 60:
        raise ValueError("its deadline must be between 0 and 60 seconds")


class Registry:
    """Functions by name."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = dict(functions)

    def __iter__(self) -> Iterator[Function]:
        return iter(self._functions.values())

    def get(self, name: str) -> Function | None:
        return self._functions.get(name)

    def tools(self, without: Collection[str] = ()) -> list[dict[str, Any]]:
        """The `tools` of an OpenAI session, but for those that this call has no use for."""
        return [
            {"type": "function", "name": f.name, "description": f.description, "parameters": f.parameters}
            for f in self
            if f.name not in without
        ]

    def holding(self) -> dict[str, str | None]:
        """Name -> the phrase the caller hears while it takes its time."""
        return {f.name: f.holding for f in self}


def load(package: str | None = None) -> Registry:
    """The functions of `relay.functions.builtin`, and those of the user's package, which replace ours of the same name.

    Raises FunctionRefused, naming the function or file, when one is broken: at start, not in a call.
    """
    found = _of_package("relay.functions.builtin")
    if package:
        found |= _of_package(package)
    return Registry(found)


def _of_package(package: str) -> dict[str, Function]:
    root = _import(package)
    names = [f"{package}.{each.name}" for each in pkgutil.iter_modules(getattr(root, "__path__", []))]
    found: dict[str, Function] = {}
    for module in (root, *(_import(name) for name in names)):
        for each in vars(module).values():
            if not isinstance(each, Function) or each.module != module.__name__:
                continue  # something it imports
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
    """One function call of the model, to its end. Never raises, whatever model or backend do."""
    began = trio.current_time()
    function = registry.get(name)
    if function is None:
        known = ", ".join(each.name for each in registry)
        outcome = _failed(f"There is no function {at_a_word(name, 64)}.", f"Use one of: {known}.")
    else:
        try:
            outcome = await _run(function, call, arguments_json, function_call_id)
        except Exception as error:  # ours, around the function: the call goes on all the same
            outcome = _mapped(function, error)
    return replace(outcome, took_s=trio.current_time() - began)


async def _run(function: Function, call: CallContext, arguments_json: str, function_call_id: str) -> Outcome:
    try:
        arguments = bind(function.arguments, arguments_json, call.caller_number, call.country)
    except BadArguments as error:
        flaw = f"Wrong arguments: {error}."
        return replace(_failed(flaw, "Correct it, or ask the caller for it."), writes=function.writes, refused=True)
    if not function.writes:
        return await _attempt(function, call, arguments)

    async def work(key: str, arguments: msgspec.Struct) -> Outcome:
        return replace(await _attempt(function, replace(call, key=key), arguments), writes=True, key=key)

    outcome = await call.once.run(Wish(call.call_sid, function.name, arguments, call.tz, function_call_id), work)
    if not outcome.unsure:
        return outcome
    return replace(outcome, output=envelope(msgspec.json.decode(outcome.output) | {"next": _DONT_CLAIM}))


async def _attempt(function: Function, call: CallContext, arguments: msgspec.Struct) -> Outcome:
    fields = {name: getattr(arguments, name) for name in arguments.__struct_fields__}
    try:
        with trio.fail_after(function.deadline_s):
            return _outcome(await function.body(call, **fields))
    except trio.TooSlowError:
        return _too_slow(function)
    except Exception as error:
        return _mapped(function, _innermost(error))


def _innermost(error: Exception) -> BaseException:
    """The one error in nested groups of one, as nurseries raise them."""
    inner: BaseException = error
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner


def _mapped(function: Function, error: BaseException) -> Outcome:
    if isinstance(error, NotPossible):
        output = {"status": "error", "error": error.words, **error.fields}
        return Outcome(envelope(output), ok=False, error=error.words, refused=True)
    if isinstance(error, Taken):
        return replace(_failed("That time is taken.", "Offer another time."), refused=True)
    if isinstance(error, Refused) and error.is_explained:
        return replace(_failed(error.told, "Tell the caller, and ask what they would like instead."), refused=True)
    if isinstance(error, BackendFault):
        unsure = function.writes and error.may_have_happened
        return replace(_failed(error.told, _DONT_CLAIM if unsure else _ELSE), error=error.words)
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
    # "error" alone is a failure: an order's status may be anything else.
    return Outcome(envelope(mapping), ok=mapping.get("status") != "error", effect=effect)


def _failed(error: str, next_step: str) -> Outcome:
    output = envelope({"status": "error", "error": error, "next": next_step})
    return Outcome(output, ok=False, error=error, unsure=next_step is _DONT_CLAIM)
