"""Has everything that is special to Twilio: media messages, TwiML, caller ids, signatures, tokens, the REST client."""
