"""Fine-tuning: which parts of a net learn, from which epoch on, and how fast.

Imports torch only. A net is seen as its head and, below it, its layers; a layer that does not learn is a fixed
function, so its batch normalisation and dropout are held in evaluation mode too.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import nn

from zoo.protocols import HEADS

POLICIES = ("full", "head", "gradual")
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
CONTAINERS = ("body", "features", "encoder", "layers", "trunk_output", "blocks")  # where torchvision keeps layers


@dataclass(frozen=True)
class Part:
    """A part of a net that begins to learn as one.

    Attributes:
        name: such as head or layer4.
        modules: those held in evaluation mode until then.
        parameters: those that move from then on.
        begin: the epoch, counted from 0; None: never.
        lr_factor: of the optimizer's learning rate.
    """

    name: str
    modules: tuple[nn.Module, ...]
    parameters: tuple[nn.Parameter, ...]
    begin: int | None
    lr_factor: float

    def learns(self, epoch: int) -> bool:
        return self.begin is not None and epoch >= self.begin


def parts(
    net: nn.Module,
    *,
    policy: str = "full",
    unfreeze_at: Sequence[int] = (1,),
    head_lr_factor: float = 1.0,
    layer_decay: float = 1.0,
    leave_out: Iterable[nn.Parameter] = (),
) -> list[Part]:
    """The parts of a net from the head down to the input.

    Args:
        net: with ``layers`` and a ``head``; what is in neither, but for auxiliary heads, counts to the lowest layer.
        policy: full: all learn from the start; head: the head alone, ever (a linear probe); gradual: the head first,
            then one layer after the other (Howard & Ruder 2018).
        unfreeze_at: for gradual, the epochs at which the layers below the head begin, from the top down; all that
            remain begin with the last.
        head_lr_factor: the head's learning rate is that of the optimizer times this.
        layer_decay: the topmost layer's is that of the optimizer times this, that of each below again times this.
        leave_out: parameters that another task fits.

    Raises:
        ValueError: an unknown policy, a factor or epoch out of range, or a head that is missing or cannot learn.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy={policy}: choose one of {', '.join(POLICIES)}")
    if not 0 < layer_decay <= 1 or head_lr_factor <= 0:
        raise ValueError(
            f"layer_decay={layer_decay}, head_lr_factor={head_lr_factor}: above 0 (layer_decay up to 1) is needed"
        )
    epochs = list(unfreeze_at)
    if policy == "gradual" and (not epochs or epochs[0] < 0 or epochs != sorted(epochs)):
        raise ValueError(f"unfreeze_at={epochs}: epochs from 0 on, none before the one in front of it, are needed")
    if policy != "full" and getattr(net, "head", None) is None:
        raise ValueError(f"policy={policy}: this {type(net).__name__} has no head; use policy=full")
    courses: dict[str, Sequence[int | None]] = {"full": [0], "head": [None], "gradual": epochs}
    begins = courses[policy]
    found = []
    for name in HEADS:
        module = getattr(net, name, None)
        if isinstance(module, nn.Module):
            begin = None if policy == "head" and name != "head" else 0  # auxiliary heads only help the layers
            found.append(Part(name, (module,), tuple(module.parameters()), begin, head_lr_factor))
    for above, (name, modules) in enumerate(reversed(list(stages(net)))):
        begin, factor = begins[min(above, len(begins) - 1)], layer_decay ** (above + 1)
        found.append(Part(name, modules, tuple(_parameters(modules)), begin, factor))
    taken = {parameter for part in found for parameter in part.parameters}
    rest = tuple(parameter for parameter in net.parameters() if parameter not in taken)
    aside = tuple(child for name, child in net.named_children() if name not in (*HEADS, "layers"))
    if found and found[-1].name not in HEADS:
        lowest = found.pop()
        found.append(replace(lowest, modules=(*aside, *lowest.modules), parameters=(*rest, *lowest.parameters)))
    else:
        found.append(Part("net", aside, rest, begins[0], 1.0))
    left_out = set(leave_out)
    found = [replace(part, parameters=tuple(p for p in part.parameters if p not in left_out)) for part in found]
    if policy != "full" and not any(part.begin == 0 and part.parameters for part in found):
        raise ValueError(
            f"policy={policy}: the head of this {type(net).__name__} has nothing to learn; use policy=full"
        )
    return [part for part in found if part.parameters]


def stages(net: nn.Module) -> Iterator[tuple[str, tuple[nn.Module, ...]]]:
    """(name, modules) of the layers that have parameters, from the input up.

    torchvision's nets that are one layer are taken apart further. What has no parameters or only normalises belongs to
    the layer in front of it.
    """
    inside = dict(getattr(net, "layers", nn.Module()).named_children())
    grouped: list[tuple[str, list[nn.Module]]] = []
    before: list[nn.Module] = []  # the first layer
    for name, module in _unpacked(inside["body"]) if set(inside) == {"body"} else inside.items():
        if not _only_normalises(module):
            grouped.append((name, [*before, module]))
            before = []
        else:
            (grouped[-1][1] if grouped else before).append(module)
    for name, modules in grouped:
        yield name if not name.isdecimal() else f"layer{name}", tuple(modules)


def _only_normalises(module: nn.Module) -> bool:
    """Or does not learn at all."""
    learning = [part for part in module.modules() if list(part.parameters(recurse=False))]
    return all(isinstance(part, NORMALISATIONS) for part in learning)


def _unpacked(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if name in CONTAINERS:
            yield from ((f"{name}.{inner}", part) for inner, part in _unpacked(child))
        else:
            yield name, child


def _parameters(modules: Sequence[nn.Module]) -> Iterator[nn.Parameter]:
    for module in modules:
        yield from module.parameters()
