"""Deletes the data of callers: by age, and when a caller wants to be erased.

service         has the task of a process that deletes by age
old_recordings  deletes recordings that are older than RETENTION_DAYS, with their waveforms
old_words       deletes words and numbers that are older than RETENTION_DAYS_WORDS
erasure         deletes everything of one caller, or of one call                                (blocking)
commands        does `relay erase`: says what will be deleted, asks, deletes                    (blocking)

The statements that find and delete are in sql/retention.sql.
"""

from relay.retention.service import Retention

__all__ = ["Retention"]
