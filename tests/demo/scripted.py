"""Digits as strokes, written by hand for the tests: lines and arcs, not images of a dataset."""

from math import cos, pi, sin

from zoo.demo.drawing import Stroke

WIDTH = 0.075  # of the pen


def arc(x, y, rx, ry, first, last, count=24):
    """Points on an ellipse; degrees, clockwise from the right."""
    angles = [(first + (last - first) * k / count) * pi / 180 for k in range(count + 1)]
    return [(x + rx * cos(a), y + ry * sin(a)) for a in angles]


# A list of lines for each digit; a line is a list of points in the unit square, y pointing down.
DIGITS = [
    [arc(0.5, 0.5, 0.19, 0.31, -90, 270)],
    [[(0.42, 0.3), (0.54, 0.19), (0.52, 0.81)]],
    [[*arc(0.5, 0.34, 0.17, 0.16, 190, 390), (0.33, 0.8), (0.7, 0.79)]],
    [[*arc(0.48, 0.34, 0.17, 0.15, 200, 440), *arc(0.48, 0.65, 0.19, 0.17, -75, 150)]],
    [[(0.4, 0.19), (0.32, 0.53), (0.72, 0.53)], [(0.61, 0.33), (0.58, 0.83)]],
    [[(0.67, 0.2), (0.41, 0.2), (0.38, 0.45), *arc(0.49, 0.61, 0.18, 0.19, -115, 140)]],
    [[(0.6, 0.18), (0.44, 0.36), *arc(0.5, 0.64, 0.15, 0.17, 190, 540)]],
    [[(0.32, 0.21), (0.68, 0.21), (0.47, 0.82)]],
    [[*arc(0.5, 0.34, 0.14, 0.15, 90, -270), *arc(0.5, 0.66, 0.17, 0.17, -90, 270)]],
    [[*arc(0.51, 0.36, 0.15, 0.16, 0, -360), (0.64, 0.5), (0.57, 0.83)]],
]


def moved(line, scale=1.0, dx=0.0, dy=0.0):
    """A line that is smaller, around the center of the pad, and moved."""
    return [(0.5 + scale * (x - 0.5) + dx, 0.5 + scale * (y - 0.5) + dy) for x, y in line]


def strokes(digit, width=WIDTH, **options):
    """The strokes of a digit; options are those of `moved`."""
    return [Stroke(moved(line, **options), width) for line in DIGITS[digit]]


def as_json(digit, **options):
    """The same as the page sends it."""
    found = strokes(digit, **options)
    return [{"points": [c for point in each.points for c in point], "width": each.width} for each in found]
