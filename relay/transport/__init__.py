"""Carries bytes and messages on sockets, and measures whether the loop is behind. Knows neither Twilio nor OpenAI."""
