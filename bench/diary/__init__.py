"""How quickly the diary answers, and how much it delays the loop."""
