"""Runs a Postgres of our own, for DATABASE_URL=embedded, the demo and the tests."""
