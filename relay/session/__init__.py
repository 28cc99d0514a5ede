"""The shell of one call: its nursery with three tasks, and the rows that it writes."""
