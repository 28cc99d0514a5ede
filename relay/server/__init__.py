"""The process: HTTP, Twilio's webhooks, the media socket's door, transfers to a human."""
