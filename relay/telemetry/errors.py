"""Finds the error that ended a nursery."""

from __future__ import annotations


def first_error(error: BaseException) -> BaseException:
    """The error itself. If it is a group, the first error in it that is not a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
