"""The protocol of a test call: the messages between the page "Talk to it" and the relay."""
