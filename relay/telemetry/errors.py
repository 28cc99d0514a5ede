"""The only place where exception groups are opened: the error that ended a nursery, as one error."""

from __future__ import annotations


def first_error(error: BaseException) -> BaseException:
    """The first error that is not a group. For a group this is its first leaf."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
