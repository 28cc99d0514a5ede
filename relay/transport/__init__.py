"""Carries bytes and messages on sockets, and measures the loop's load. The package knows neither Twilio nor OpenAI."""
