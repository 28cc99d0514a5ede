"""Our own words: the prompts, the phrases rendered in the agent's voice, and the clips that ship."""
