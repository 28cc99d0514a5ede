"""Our own Twilio, model, voice and business: for the demo, the tests and rehearsals."""
