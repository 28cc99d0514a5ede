"""What the model may do for a caller.

lookup_hours lookup_answer check_availability book_appointment cancel_or_move_appointment lookup_caller
transfer_to_human take_message end_call wait_for_user: one file a function. A file of yours beside them, or in the
package that FUNCTIONS names, is found by itself.

registry     what a function is, how all are found, how one is run
arguments    signature -> JSON schema; the model's JSON -> checked values                    (pure)
results      a result -> JSON of at most 1 kB                                                (pure)
effects      what a function wants of its call; its outcome                                  (pure)
once         a function that writes runs exactly once
backend      the HTTP client    contract  the types of its answers (pure)    breaker  (pure)
times        days and hours as they are said (pure)
claims       what the agent says was done, against what was done                             (pure)
deeds        a call's deeds, and what the caller was told of them                            (pure)
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
