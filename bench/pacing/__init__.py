"""Pacing: a lead of 200 to 400 ms at Twilio against pushing every delta straight through."""
