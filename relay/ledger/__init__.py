"""The ledger: what is kept of a call, and how it gets to Postgres without ever holding up the caller.

rows.py       what is kept: frozen typed rows (pure)
port.py       `Ledger`: what a call may ask of it
store.py      `PostgresLedger`: queue, writer, reads
batch.py      many rows in one transaction; a row that spoils it is set aside
spill.py      where rows wait on disk while Postgres is away
postgres_thread.py       one thread with one connection; a hung server is cut off, not waited for
statements.py sql/statements.sql by name
memory.py     `MemoryLedger`: the same port without threads, for plays on a fake clock
embedded.py   `embedded(data_dir)`: a Postgres of our own, shared by the commands that run; keeper.py guards it
migrate.py    `migrate(url)`: sql/ forward only
history.py    calls to read afterwards: `list_calls`, `rows_of_call`

The way of a row: record() -> queue -> (writer: lane) -> Postgres; Postgres away and queue full -> spill -> Postgres.
"""
