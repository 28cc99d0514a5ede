"""What the process reports about itself: log lines, metrics, and the error that ended a nursery."""
