"""`zoo.protocols`: what `isinstance` finds is the same in all versions of Python."""

import inspect

import pytest
from typing_extensions import get_protocol_members

import zoo
from zoo import protocols
from zoo.protocols import StackOfRBMs

LARGE = ("resnet34", "resnet50", "resnet101", "resnet152", "timm")  # as resnet18
CHECKED = [name for name in protocols.__all__ if getattr(getattr(protocols, name), "_is_runtime_protocol", False)]


def is_found_statically(net, member):
    """As `isinstance` looks for the members of a protocol from Python 3.12 on: without `nn.Module.__getattr__`."""
    try:
        inspect.getattr_static(net, member)
    except AttributeError:
        return False
    return True


@pytest.fixture(scope="module")
def nets():
    """Every model, and the first RBM of every stack."""
    created = [zoo.create(name) for name in zoo.list_models() if name not in LARGE]
    return [*created, *(net.rbm(0) for net in created if isinstance(net, StackOfRBMs))]


@pytest.mark.parametrize("name", CHECKED)
def test_isinstance_finds_all_members_of_a_protocol_without_getattr(name, nets):
    """Parameters and submodules would not be found: they are attributes by `nn.Module.__getattr__` only."""
    members = get_protocol_members(getattr(protocols, name))
    for net in nets:
        if all(hasattr(net, member) for member in members):
            missing = {member for member in members if not is_found_statically(net, member)}
            assert not missing, f"{type(net).__name__} has {missing} as parameters or submodules"


def test_there_are_protocols_to_check():
    assert "SharesWeights" in CHECKED
