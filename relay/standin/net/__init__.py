"""Networks that break: lines between processes that can be cut and mended."""
