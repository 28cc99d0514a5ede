"""What the model may do for a caller.

lookup_hours lookup_answer check_availability book_appointment cancel_or_move_appointment lookup_caller
transfer_to_human take_message end_call wait_for_user: each has a file in builtin/. Files of your own are found too, in
this folder or in the package that FUNCTIONS names.

registry     what a function is, how the functions are found, and how one is run
arguments    signature -> JSON schema; the model's JSON -> checked values                    (pure)
invented     values that nobody has said: "John Doe"    questions   questions to the caller  (pure)
outcome      what a function returns: JSON of at most 1 kB, and an effect on the call        (pure)
idempotency  a function that writes runs exactly once
builtin/     the functions that every relay has, and the words for days and hours
backend/     the port to the business: the HTTP client, its contract (pure), its breaker (pure)
claims/      compares what the agent says that it did with what was done                  (pure)
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
