"""Has the functions that the model may call for a caller.

builtin/ has one file for each function that every relay has. The setting FUNCTIONS names a package with the owner's
functions.

    registry.py     finds a function and runs it
    arguments.py    makes a JSON schema from a signature, and checks the model's JSON (pure)
    invented.py     finds values that nobody has said, such as "John Doe" (pure)
    questions.py    keeps the questions that the caller must answer before a function runs (pure)
    outcome.py      defines what a function returns: JSON of at most 1 kB, and an effect on the call (pure)
    idempotency.py  makes sure that a function that writes runs once
    builtin/        has the functions of every relay
    backend/        asks the business: the HTTP client, its contract (pure), and its breaker (pure)
    claims/         compares what the agent says with what functions did (pure)
"""

from relay.functions.backend.client import Backend
from relay.functions.backend.port import BackendPort
from relay.functions.claims.deeds import Deeds
from relay.functions.idempotency import Once, Reservations
from relay.functions.outcome import (
    Effect,
    EndCall,
    NotPossible,
    Outcome,
    PauseRecording,
    ResumeRecording,
    StaySilent,
    TakeMessage,
    TransferCall,
)
from relay.functions.registry import CallContext, Function, FunctionRefused, Registry, function, load, run

__all__ = [
    "Backend", "BackendPort", "CallContext", "Deeds", "Effect", "EndCall", "Function", "FunctionRefused", "NotPossible",
    "Once", "Outcome", "PauseRecording", "Registry", "Reservations", "ResumeRecording", "StaySilent", "TakeMessage",
    "TransferCall", "function", "load", "run",
]  # fmt: skip
