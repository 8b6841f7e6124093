"""A whole organization on a real, very small language model; not part of the tests."""
