"""How soon a caller hears the greeting: real processes over loopback, one case for each rung of the ladder."""
