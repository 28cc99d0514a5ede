"""The load of `relay bench`: many callers and their model, in one process that needs little CPU time."""
