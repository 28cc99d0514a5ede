"""A Postgres of our own for demo, tests and a desk: DATABASE_URL=embedded."""
