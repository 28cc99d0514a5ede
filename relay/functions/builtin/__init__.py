"""Has the functions of every relay. Each has a file of its own. proof.py and times.py help them."""
