"""Makes the stand-in model talk long enough to be interrupted: two answers, and a part of a scenario with them."""

from __future__ import annotations

LONG = (
    "We are open tomorrow from eleven in the morning until ten at night, and the kitchen takes its last orders at half "
    "past nine. Was there anything else you wanted to know about our opening hours, or shall I book a table for you?"
)


SHORT = "Yes, I'm here. How can I help?"


MODEL = f"""
[[model.reaction]]
clip = "oh_wait"
say = "{LONG}"
[[model.reaction]]
clip = "ask_hours"
say = "{LONG}"
[[model.reaction]]
clip = "can_you_hear"
say = "{SHORT}"
"""
