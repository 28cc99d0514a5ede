"""What the agent says it did, held against what was done."""
