"""Trick: write until the disk is full.
Outcome: crashed
Held by: bounds
"""

block = b"x" * (1 << 20)
for number in range(100_000):
    with open(f"file{number}", "wb") as file:
        for _ in range(1024):
            file.write(block)
