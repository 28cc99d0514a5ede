"""Measures the silences that callers hear while a function takes two seconds, on real sockets."""
