"""OpenAI's Realtime protocol: messages, session settings and prices (pure), and the client."""
