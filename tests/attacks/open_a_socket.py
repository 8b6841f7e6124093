"""Trick: connect to a server.
Outcome: crashed: refused
Held by: wall
"""

import socket

opened = 0
for family, address in (
    (socket.AF_INET, ("127.0.0.1", int("@PORT@"))),
    (socket.AF_INET6, ("::1", int("@PORT@"))),
    (socket.AF_UNIX, "\0@ABSTRACT@"),
    (socket.AF_UNIX, "@SOCKET@"),
):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.settimeout(1.0)
            one.connect(address)
            opened += 1
    except OSError:
        continue
raise SystemExit("got out" if opened else "refused")
