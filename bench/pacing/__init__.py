"""Compares two ways to send audio: with a lead of 200 to 400 ms at Twilio, and every delta at once."""
