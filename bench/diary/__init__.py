"""How quickly the diary answers, and what it costs the loop."""
