"""Deletes what callers left: by age, and when a caller wants to be erased.

service         the task of a process that deletes by age
old_recordings  recordings that are older than RETENTION_DAYS: files, and their waveforms
old_words       words and numbers in Postgres that are older than RETENTION_DAYS_WORDS
erasure         everything of one caller, or of one call                                        (blocking)
commands        `relay erase`: says what will be deleted, asks, and says what is left           (blocking)

All SQL is in sql/retention.sql.
"""

from relay.retention.service import Retention

__all__ = ["Retention"]
