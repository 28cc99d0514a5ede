"""The load of `relay bench`: many callers and their model in one cheap process."""
