"""The functions that every relay has. Each file is one function."""
