"""Has the functions of every relay, each in its own file. proof.py and times.py are helpers."""
