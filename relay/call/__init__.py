"""The pure core of a call: an event and the time in, actions out. No I/O, no clock."""
