"""Bytes and messages on sockets, and the pace of the loop. It knows neither Twilio nor OpenAI."""
