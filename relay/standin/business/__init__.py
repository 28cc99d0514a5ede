"""The stand-in business: a backend with faults on order."""
