"""The stand-in model: a Realtime server with faults on order."""
