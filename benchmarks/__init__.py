"""Measurements against others, run by hand; the tests do not collect them."""
