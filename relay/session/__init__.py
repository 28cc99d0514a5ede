"""The shell of one call: its nursery with three tasks, and what it writes down."""
