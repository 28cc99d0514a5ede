"""How soon a caller hears us: real processes over loopback, one case for each step of the greeting's ladder."""
