"""Keeps the rows of calls, and writes them to Postgres. Recording a row never waits for Postgres.

rows.py       defines the rows: frozen dataclasses (pure: without clock and I/O)
port.py       defines `Ledger`: what a call may ask of the ledger
store.py      `PostgresLedger` implements `Ledger` with Postgres
backlog.py    holds the rows that are not in Postgres yet, in order: in memory, or on disk while Postgres is away
spill.py      manages the folder of the rows on disk
batch.py      writes many rows in one transaction, and finds the row that makes a transaction fail
postgres_thread.py  is one thread with one connection; each use of the thread has a time limit
statements.py reads named statements from a file, such as sql/statements.sql
memory.py     `MemoryLedger` implements `Ledger` in memory without threads, for tests on a fake clock
migrate.py    `migrate(url)` applies the migrations in sql/
history.py    reads the rows of calls: `list_calls`, `rows_of_call`
dev_postgres/ `embedded(data_dir)` runs the embedded Postgres, which all running commands share

A row goes this way: record(), backlog, writer, Postgres. A row that Postgres does not take within a second or two waits
on disk.
"""
