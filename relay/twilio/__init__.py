"""Twilio's protocol: media messages, TwiML and signatures (pure), tokens, and the REST client."""
