"""The order in which the parts of a net are fitted. Imports nothing.

A schedule is a generator of (name, task) pairs; each is fitted to its end before the next is asked for, so a later
task sees what an earlier one learned. ``task(net)`` fits the whole net, ``task(net, layer=k)`` one layer of it.
"""


def joint(net, task):
    """All at once."""
    yield "net", task(net)


def layerwise(net, task):
    """One layer after the other, from the input up."""
    for k in range(len(net.layers)):
        yield f"layer{k}", task(net, layer=k)
