"""Has the functions of every relay. Each file has one function."""
