"""Fine-tuning: which parts of a net learn, from which epoch on, and how fast.

Imports torch only. A net is seen as its head and, below it, its layers; a layer that does not learn is a fixed
function, so its batch normalisation and dropout are held in evaluation mode too.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

POLICIES = ("full", "head", "gradual")
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
CONTAINERS = (
    "body",
    "features",
    "encoder",
    "layers",
    "trunk_output",
    "blocks",
)  # in which torchvision keeps its layers


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
    leave_out: Collection[nn.Parameter] = (),
) -> list[Part]:
    """The parts of a net from the head down to the input.

    Args:
        net: with ``layers`` and a ``head``; what is in neither (auxiliary heads) counts as the head.
        policy: full: all learn from the start; head: the head alone, ever (a linear probe); gradual: the head first,
            then one layer after the other (Howard & Ruder 2018).
        unfreeze_at: for gradual, the epochs at which the layers below the head begin, from the top down; all that
            remain begin with the last.
        head_lr_factor: the head's learning rate is that of the optimizer times this.
        layer_decay: the topmost layer's is that of the optimizer times this, that of each below again times this.
        leave_out: parameters that another task fits.

    Raises:
        ValueError: an unknown policy, a factor or epoch out of range, or a net without a head.
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
    below = list(stages(net))[::-1]
    taken = {p for _, modules, loose in below for p in _parameters(modules, loose)} | set(leave_out)
    rest = tuple(p for p in net.parameters() if p not in taken)
    head = tuple(part for name, part in net.named_children() if name not in ("layers", "body"))
    found = [Part("head", head, rest, 0, head_lr_factor)]
    for above, (name, modules, loose) in enumerate(below):
        begin = {"full": 0, "head": None, "gradual": epochs[min(above, len(epochs) - 1)]}[policy]
        own = tuple(p for p in _parameters(modules, loose) if p not in set(leave_out))
        found.append(Part(name, modules, own, begin, layer_decay ** (above + 1)))
    return [part for part in found if part.parameters]


def stages(net: nn.Module) -> Iterator[tuple[str, tuple[nn.Module, ...], tuple[nn.Parameter, ...]]]:
    """(name, modules, loose parameters) of the layers that have parameters, from the input up.

    torchvision's nets that are one layer are taken apart further. A normalisation belongs to the layer in front of it;
    loose parameters, such as a transformer's position embedding, to the first.
    """
    layers: nn.Module = getattr(net, "layers", nn.Module())
    inside = dict(layers.named_children())
    loose: list[nn.Parameter] = []
    found = list(_unpacked(inside["body"], loose) if set(inside) == {"body"} else inside.items())
    grouped: list[tuple[str, list[nn.Module]]] = []
    for name, module in found:
        if not list(module.parameters()):
            continue
        if grouped and isinstance(module, NORMALISATIONS):
            grouped[-1][1].append(module)
        else:
            grouped.append((name, [module]))
    for number, (name, modules) in enumerate(grouped):
        yield name if not name.isdecimal() else f"layer{name}", tuple(modules), tuple(loose) if number == 0 else ()


def _unpacked(module: nn.Module, loose: list[nn.Parameter]) -> Iterator[tuple[str, nn.Module]]:
    loose += module.parameters(recurse=False)
    for name, child in module.named_children():
        if name in CONTAINERS:
            yield from ((f"{name}.{inner}", part) for inner, part in _unpacked(child, loose))
        else:
            yield name, child


def _parameters(modules: Sequence[nn.Module], loose: Sequence[nn.Parameter]) -> Iterator[nn.Parameter]:
    yield from loose
    for module in modules:
        yield from module.parameters()
