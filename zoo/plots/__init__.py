"""Plots of data, nets and runs, as matplotlib figures.

A notebook shows the figure that a function returns; ``path=`` also writes it as a PNG. matplotlib is imported when
a function is called, and needs no display.
"""
