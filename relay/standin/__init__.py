"""The stand-ins: a local Twilio, model, voice service and business, for the demo, the tests and rehearsals."""
