"""Has the relay's own texts: the prompts, the phrases in the agent's voice, and the clips that ship with the relay."""
