"""Measures how quickly the diary answers, and how much it delays the event loop."""
