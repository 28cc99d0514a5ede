"""Measures how much five watchers of the page Live delay the audio of 20 running calls."""
