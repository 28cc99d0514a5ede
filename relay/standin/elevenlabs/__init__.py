"""A stand-in of ElevenLabs' multi-context speech socket: its protocol, its timing as assumed, and its faults."""
