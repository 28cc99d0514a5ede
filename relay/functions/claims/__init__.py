"""What the agent says it did, compared with what was done."""
