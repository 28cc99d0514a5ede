"""Keeps the rows of calls, and writes them to Postgres. No caller ever waits for the ledger.

rows.py       what is kept: frozen typed rows (pure)
port.py       `Ledger`: what a call may ask of the ledger
store.py      `PostgresLedger`: writer, reads
backlog.py    the rows that wait, in order: in memory, or on disk while Postgres is away
spill.py      the folder where rows wait on disk
batch.py      many rows in one transaction; a row that makes it fail is set aside
postgres_thread.py  one thread with one connection; a server that hangs is given up
statements.py sql/statements.sql by name
memory.py     `MemoryLedger`: the same port without threads, for plays on a fake clock
migrate.py    `migrate(url)`: applies sql/, forward only
history.py    calls to read afterwards: `list_calls`, `rows_of_call`
dev_postgres/ `embedded(data_dir)`: a Postgres of our own, shared by the commands that run; keeper.py keeps it up

A row goes this way: record(), backlog, writer, Postgres. A row that Postgres does not take within a second or two waits
on disk.
"""
