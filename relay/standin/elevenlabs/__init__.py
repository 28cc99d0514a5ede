"""The stand-in of ElevenLabs' multi-context speech socket: its protocol, its assumed timing, and its faults."""
