"""Student's t and the normal distribution; scipy is imported when one is first asked for."""

from __future__ import annotations


def t_below(value: float, freedom: float) -> float:
    """The probability that Student's t with so many degrees of freedom is at most ``value``."""
    from scipy.special import stdtr

    return float(stdtr(freedom, value))


def t_quantile(probability: float, freedom: float) -> float:
    """What Student's t lies below with this probability."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def normal_below(value: float) -> float:
    """The probability that a standard normal variable is at most ``value``."""
    from scipy.special import ndtr

    return float(ndtr(value))
