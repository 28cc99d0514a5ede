"""The browser's side of a test call: what the page "Talk to it" sends on its socket, and what it gets."""
