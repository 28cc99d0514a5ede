"""Bytes and messages on sockets, and the loop's load. The package knows neither Twilio nor OpenAI."""
