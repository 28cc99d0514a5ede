"""Finds a free port for a server that another process will open."""

from __future__ import annotations

import random
import socket

# The kernel gives ports from 32768 on to clients, and to servers that ask for any port (Linux,
# net.ipv4.ip_local_port_range). So a port below 32768 stays free until the other process opens it, unless a program
# asks for exactly this port.
PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that no process uses now. Raises OSError if 100 tries find none."""
    for _ in range(100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port := random.choice(PORTS)))
            except OSError:
                continue
            return port
    raise OSError(f"no free TCP port was found from {PORTS.start} to {PORTS.stop - 1}")
