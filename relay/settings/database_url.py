"""DATABASE_URL as people copy it (pure). Parameters for other programs are removed. A URL that libpq would misread is
refused.

No error quotes the URL: any part of it may be the password.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

SHAPE = 'must be "embedded", or a URL like postgresql://user:password@host:5432/database'
ENCODE = (
    "has a user name or a password with a sign that must be percent-encoded: write @ as %40, / as %2F, : as %3A, "
    "? as %3F, # as %23, % as %25"
)
# Parameters for Prisma. They are in the URLs that Supabase, Neon and others show. The relay needs none of them, because
# it prepares no statement and sets nothing for a session.
_OF_PRISMA = frozenset({"pgbouncer", "connection_limit", "pool_timeout", "statement_cache_size", "socket_timeout"})
_URL = re.compile(r"postgres(?:ql)?://(?P<authority>[^/?]*)(?P<rest>[^?]*)(?:\?(?P<query>.*))?", re.DOTALL)


class DatabaseUrlUnclear(ValueError):
    """What is wrong with DATABASE_URL. The message is put after the name. It quotes only names of parameters."""


def understood(text: str) -> str:
    """The URL or connection string as libpq takes it. Raises DatabaseUrlUnclear."""
    if not text.isprintable():
        raise DatabaseUrlUnclear(SHAPE)
    text = _without_foreign_parameters(text) if text.startswith(("postgres://", "postgresql://")) else text
    try:
        parts = conninfo_to_dict(text)
    except (psycopg.Error, ValueError):  # The message of such an error quotes the URL with the password.
        raise DatabaseUrlUnclear(_why_unreadable(text)) from None
    # libpq ends a user name at the first @ or /, and a host at the first colon. If the password has such a sign, libpq
    # takes the rest of the password for a host, a port or a database. Its errors would then show that rest.
    host, port, dbname = (str(parts.get(name) or "") for name in ("host", "port", "dbname"))
    misread = any("@" in one[1:] for one in host.split(",") if not one.startswith("/"))
    if misread or "@" in dbname or "@" in port:
        raise DatabaseUrlUnclear(ENCODE)
    if not re.fullmatch(r"[0-9,]*", port):
        raise DatabaseUrlUnclear(SHAPE)
    return text


def _without_foreign_parameters(text: str) -> str:
    before, mark, query = text.partition("?")
    if not mark or ("@" in query and "@" not in before):
        return text  # The password has a question mark. libpq reports that.
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
