"""Makes a URL for libpq from DATABASE_URL (pure). Parameters for other programs are removed.

A URL that libpq would read wrongly is refused. No error quotes the URL, because any part of it may be the password.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

SHAPE = 'must be "embedded", or a URL like postgresql://user:password@host:5432/database'
PORT = "must have one port from 1 to 65535, or one port for each host"
ENCODE = (
    "has a user name or a password with a sign that must be percent-encoded: write @ as %40, / as %2F, : as %3A, "
    "? as %3F, # as %23, % as %25"
)
# Parameters for Prisma. Supabase, Neon and others put them into the URLs that they show. The relay needs none of them,
# because it uses no prepared statements and no session settings.
_OF_PRISMA = frozenset({"pgbouncer", "connection_limit", "pool_timeout", "statement_cache_size", "socket_timeout"})
_URL = re.compile(r"postgres(?:ql)?://(?P<authority>[^/?]*)(?P<rest>[^?]*)(?:\?(?P<query>.*))?", re.DOTALL)

_PORT = re.compile(r"[0-9]{1,100}")  # Python's int() refuses more than 4,300 digits.


class DatabaseUrlUnclear(ValueError):
    """DATABASE_URL cannot be used. The message continues the sentence "DATABASE_URL …".

    It quotes no part of the URL except the names of parameters.
    """


def understood(text: str) -> str:
    """Return the URL or connection string in a form that libpq reads correctly. Raises DatabaseUrlUnclear."""
    if not text.isprintable():
        raise DatabaseUrlUnclear(SHAPE)
    text = _without_foreign_parameters(text) if text.startswith(("postgres://", "postgresql://")) else text
    try:
        parts = conninfo_to_dict(text)
    except (psycopg.Error, ValueError):  # The message of such an error quotes the URL with the password.
        raise DatabaseUrlUnclear(_why_unreadable(text)) from None
    # libpq ends a user name at the first @ or /, and a host at the first colon. If the password has such a character,
    # libpq reads the rest of the password as a host, a port or a database. libpq's error messages would then show that
    # part of the password.
    host, port, dbname = (str(parts.get(name) or "") for name in ("host", "port", "dbname"))
    misread = any("@" in one[1:] for one in host.split(",") if not one.startswith("/"))
    if misread or "@" in dbname or "@" in port:
        raise DatabaseUrlUnclear(ENCODE)
    ports = port.split(",")
    if not all(one == "" or (_PORT.fullmatch(one) and 0 < int(one) < 65_536) for one in ports):
        raise DatabaseUrlUnclear(PORT)
    if len(ports) not in (1, len(str(parts.get("hostaddr") or host).split(","))):
        raise DatabaseUrlUnclear(PORT)
    return text


def _without_foreign_parameters(text: str) -> str:
    before, mark, query = text.partition("?")
    if not mark or ("@" in query and "@" not in before):
        return text  # The password has a question mark. libpq reads such a password correctly.
    parameters, kept = parse_qsl(query, keep_blank_values=True), []
    for name, value in parameters:
        if name == "schema" and value != "public":
            raise DatabaseUrlUnclear(
                "has the parameter schema: remove it, and run in Postgres: alter role … set search_path = …"
            )
        if name not in _OF_PRISMA and name != "schema":
            kept.append((name, value))
    if len(kept) == len(parameters):
        return text
    return before + (f"?{urlencode(kept)}" if kept else "")


def _why_unreadable(text: str) -> str:
    match = _URL.fullmatch(text)
    if match is None:
        return SHAPE
    if "@" in match["rest"] or ("@" not in match["authority"] and "@" in (match["query"] or "")):
        return ENCODE  # A / or a ? in the password has ended the host too early.
    if re.search(r"%(?![0-9A-Fa-f]{2})", match["authority"]):
        return ENCODE
    known = {info.keyword.decode() for info in psycopg.pq.Conninfo.get_defaults()}
    unknown = [name for name, _ in parse_qsl(match["query"] or "", keep_blank_values=True) if name not in known]
    if unknown:
        return f"has the parameter {unknown[0]}, which Postgres does not know: remove it"
    return SHAPE
