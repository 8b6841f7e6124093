"""The people: one function each, from what it reads to what it writes."""
