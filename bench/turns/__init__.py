"""How long callers wait for their answer, and how often an answer cuts them off in a pause. See __main__.py."""
