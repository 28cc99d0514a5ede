"""What the process tells of itself: log lines, figures, and what ended a nursery."""
