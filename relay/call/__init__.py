"""The pure core of a call: an event and the time come in, and actions come out. No I/O, no clock."""
