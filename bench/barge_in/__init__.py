"""Measures barge-in: how exact the truncations are, and how soon the agent is silent. Compares values of GIVE_UP_MS
(relay/call/turn_taking.py).
"""
