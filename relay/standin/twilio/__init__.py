"""The stand-in Twilio: an exchange that rings, streams audio, dials, and runs TwiML."""
