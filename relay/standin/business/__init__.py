"""The stand-in business: a backend whose faults can be ordered."""
