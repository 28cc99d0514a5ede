"""The stand-in model: a Realtime server whose faults can be ordered."""
