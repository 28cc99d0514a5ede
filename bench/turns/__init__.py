"""Measures how long callers wait for an answer, and how often an answer cuts them off in a pause. See __main__.py."""
