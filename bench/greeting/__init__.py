"""How soon a caller hears us: real processes over loopback, one case for each rung of the greeting's ladder."""
