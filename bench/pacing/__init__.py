"""Compares ways to send audio: with a lead at Twilio (200 to 400 ms, or 100 to 200 ms), and every delta at once."""
