"""Pacing: a lead of 200 to 400 ms at Twilio, compared with sending every delta at once."""
