"""`python -m bench.live.watchers PORT COUNT` runs watchers: HTTP clients that read the event stream of the page Live.

The process prints "ready" when each client has its first snapshot. When its standard input ends, it prints how many
snapshots and bytes all clients together have got, and ends.
"""

from __future__ import annotations

import selectors
import socket
import sys

ASK = b"GET /console/live/events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"


def main() -> int:
    """Read until the standard input ends. Return 1 if an event stream ends earlier."""
    port, count = int(sys.argv[1]), int(sys.argv[2])
    selector, events, n_bytes, waiting = selectors.DefaultSelector(), 0, 0, set[int]()
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(ASK % port)
        selector.register(sock, selectors.EVENT_READ)
        waiting.add(sock.fileno())
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:
                print(events, n_bytes, flush=True)
                return 0
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(65_536)
            if not data:
                print("an event stream has ended", file=sys.stderr)
                return 1
            n_bytes += len(data)
            events += data.count(b"data: ")
            if b"data: " in data and key.fd in waiting:
                waiting.discard(key.fd)
                if not waiting:
                    print("ready", flush=True)


if __name__ == "__main__":
    sys.exit(main())
