"""Finds the error that ended a nursery. This is the only place where exception groups are opened."""

from __future__ import annotations


def first_error(error: BaseException) -> BaseException:
    """The first error that is not a group. For a group this is its first leaf."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
