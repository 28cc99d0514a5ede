"""Twilio's protocol: media messages, TwiML, signatures and tokens (pure), and the REST client."""
