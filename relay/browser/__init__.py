"""The browser's side of a test call: what the page "Talk to it" says on its socket, and what it is told."""
