"""Runs the streams of a call: carries out what relay/call/ decides, and writes the rows."""
