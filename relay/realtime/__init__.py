"""Knows OpenAI's Realtime protocol: messages, session settings, refusals and prices (pure), and the client."""
