"""Trick: take all memory.
Outcome: crashed: out of memory
Held by: bounds
"""

hoard = []
while True:
    hoard.append(bytearray(b"x" * (64 << 20)))
