"""How long callers wait for their answer, and how often they are cut off in a pause: see __main__.py."""
