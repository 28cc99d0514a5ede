"""Networks that can break: connections between processes that can be cut and restored."""
