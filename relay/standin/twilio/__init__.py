"""The stand-in Twilio: an exchange that rings, streams, dials and speaks TwiML."""
