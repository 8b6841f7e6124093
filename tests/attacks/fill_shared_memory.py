"""Trick: fill /dev/shm, which all programs share.
Outcome: crashed
Held by: wall
"""

block = b"x" * (1 << 20)
with open("/dev/shm/hoard", "wb") as file:
    for _ in range(1 << 20):
        file.write(block)
