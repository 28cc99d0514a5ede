"""Our own Twilio, model and business: for the demo, the tests and rehearsals."""
