"""What it costs 20 calls that five pages watch them."""
