"""Compare samples and tensors with what the sum over all states of a small net says."""

from itertools import product

import numpy as np
from scipy.stats import chisquare


def binary(n):
    """All 2^n states of n units."""
    return np.array(list(product([0.0, 1.0], repeat=n)))


def counts(samples, states):
    """How often each of the states, zeros and ones, is among the samples."""
    powers = 2 ** np.arange(states.shape[1])
    numbers = {int(number): i for i, number in enumerate(states @ powers)}
    found = [numbers[int(number)] for number in samples.numpy() @ powers]
    return np.bincount(found, minlength=len(states))


def p_value(samples, states, p):
    """Of the samples being from p over the states; rare ones (fewer than 5 expected) are put together."""
    observed, expected = counts(samples, states), len(samples) * p / p.sum()
    rare = expected < 5
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    keep = expected > 0
    return chisquare(observed[keep], expected[keep]).pvalue


def close(actual, expected, tolerance=1e-6):
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=tolerance, atol=tolerance)
