"""The cost of five watchers for 20 running calls."""
