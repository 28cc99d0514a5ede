"""The one place where exception groups are opened: what ended a nursery, as one error."""

from __future__ import annotations


def first_error(error: BaseException) -> BaseException:
    """The first error that is no group: of a group its first leaf, otherwise the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
