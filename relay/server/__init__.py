"""Runs the process: HTTP, Twilio's webhooks, the media sockets, and transfers to a human."""
