"""Fine-tuning: which layers of a net are trained, from which epoch on, and at which learning rate.

`layer_groups` divides a net into the groups that `zoo.tasks.supervised` freezes and unfreezes. May import torch and
`zoo.protocols` only.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

from zoo.protocols import HEADS, head_of

POLICIES = ("full", "head", "gradual")
NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
# Names of modules in the nets of torchvision and timm that only contain layers.
CONTAINERS = (
    "body",
    "features",
    "encoder",
    "layers",
    "trunk_output",
    "blocks",
    "stages",
    "transformers",
    "dense_stages",
)

# The parameters that `hold` froze. All others without a gradient were frozen by the user.
_held: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def hold(parameters: Iterable[nn.Parameter]) -> None:
    """Freeze parameters until `release`."""
    for parameter in parameters:
        if parameter.requires_grad:
            parameter.requires_grad_(False)
            _held[parameter] = True


def release(parameters: Iterable[nn.Parameter]) -> None:
    """Train the parameters again that `hold` froze, even in a fit that was interrupted; no others."""
    for parameter in parameters:
        if parameter in _held:
            del _held[parameter]
            parameter.requires_grad_(True)


def check_trained(net: nn.Module, parameters: Iterable[nn.Parameter]) -> None:
    """Raise ValueError if none of the parameters requires a gradient."""
    if not any(parameter.requires_grad for parameter in parameters):
        raise ValueError(f"no parameter of this {type(net).__name__} can be trained; call requires_grad_(True) on some")


@runtime_checkable
class DividesItself(Protocol):
    """A net that says which modules form a layer, such as `zoo.models.TimmNet`."""

    def layer_modules(self) -> Sequence[tuple[str, tuple[nn.Module, ...]]]:
        """(name, modules) of the layers below the head, from the input up; empty: as `trainable_layers` divides it."""


@dataclass(frozen=True)
class LayerGroup:
    """Layers of a net that are unfrozen together.

    Attributes:
        name: such as head or layer4.
        modules: the modules that are held in evaluation mode while the group is frozen.
        parameters: the parameters that are trained from epoch ``begin`` on.
        begin: the first epoch in which the group is trained, counted from 0; None: never.
        lr_factor: learning rate of the group, relative to the optimizer's.
    """

    name: str
    modules: tuple[nn.Module, ...]
    parameters: tuple[nn.Parameter, ...]
    begin: int | None
    lr_factor: float

    def trains(self, epoch: int) -> bool:
        """Whether the group is trained in ``epoch``, counted from 0."""
        return self.begin is not None and epoch >= self.begin


def layer_groups(
    net: nn.Module,
    *,
    policy: str = "full",
    unfreeze_at: Sequence[int] = (1,),
    head_lr_factor: float = 1.0,
    layer_decay: float = 1.0,
    leave_out: Iterable[nn.Parameter] = (),
) -> list[LayerGroup]:
    """The groups of a net, from the head down to the input.

    Args:
        net: the net. Its submodule ``head``, its auxiliary heads and each layer of its submodule ``layers`` become a
            group. All other parameters join the lowest layer, or form a group in a net without layers.
        policy: "full": everything is trained from the start. "head": the head alone, always (a linear probe).
            "gradual": the head first, then one layer after the other (Howard & Ruder 2018).
        unfreeze_at: with "gradual", the epoch (counted from 0) at which each layer below the head is unfrozen, from the
            top down. The last epoch applies to all remaining layers.
        head_lr_factor: learning rate of the head, relative to the optimizer's; > 0.
        layer_decay: learning-rate factor from one layer to the next one below, in (0, 1]. The layer directly below
            the head has the optimizer's learning rate times this.
        leave_out: parameters to exclude, since another task trains them.

    Raises:
        ValueError: an unknown policy, a factor or epoch out of range, or a head that is missing or has no parameters.
    """
    _check_options(net, policy, unfreeze_at, head_lr_factor=head_lr_factor, layer_decay=layer_decay)

    # The epochs in which the layers below the head begin, from the top down.
    begins_of: dict[str, Sequence[int | None]] = {"full": [0], "head": [None], "gradual": list(unfreeze_at)}
    begins = begins_of[policy]

    # The heads. Auxiliary heads are trained from the start unless policy=head: they only help the layers below them.
    groups = []
    children = dict(net.named_children())
    for name in HEADS:
        if name in children:
            begin = None if policy == "head" and name != "head" else 0
            parameters = tuple(children[name].parameters())
            groups.append(LayerGroup(name, (children[name],), parameters, begin, head_lr_factor))

    # The layers, from the top down; each has its epoch and its learning rate.
    for layers_above, (name, modules) in enumerate(reversed(list(trainable_layers(net)))):
        begin = begins[min(layers_above, len(begins) - 1)]
        parameters = tuple(parameter for module in modules for parameter in module.parameters())
        groups.append(LayerGroup(name, modules, parameters, begin, layer_decay ** (layers_above + 1)))

    # Other parameters, such as a class token, join the lowest layer. In a net without layers they form the group "net".
    grouped = {parameter for group in groups for parameter in group.parameters}
    rest = tuple(parameter for parameter in net.parameters() if parameter not in grouped)
    other_modules = tuple(child for name, child in children.items() if name not in (*HEADS, "layers"))
    if groups and groups[-1].name not in HEADS:
        lowest = groups.pop()
        groups.append(
            replace(lowest, modules=(*other_modules, *lowest.modules), parameters=(*rest, *lowest.parameters))
        )
    else:
        groups.append(LayerGroup("net", other_modules, rest, begins[0], 1.0))

    # Remove the excluded parameters, and then the groups without parameters.
    left_out = set(leave_out)
    groups = [replace(group, parameters=tuple(p for p in group.parameters if p not in left_out)) for group in groups]
    if policy != "full" and not any(group.begin == 0 and group.parameters for group in groups):
        raise ValueError(f"policy={policy}: the head of this {type(net).__name__} has no parameters; use policy=full")
    return [group for group in groups if group.parameters]


def _check_options(
    net: nn.Module, policy: str, unfreeze_at: Sequence[int], *, head_lr_factor: float, layer_decay: float
) -> None:
    """Raise ValueError as `layer_groups` documents."""
    if policy not in POLICIES:
        raise ValueError(f"policy={policy}: choose one of {', '.join(POLICIES)}")
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay={layer_decay} must be in (0, 1]")
    if not head_lr_factor > 0:
        raise ValueError(f"head_lr_factor={head_lr_factor} must be > 0")
    # Layers are unfrozen from the top down, so the epochs must be non-decreasing.
    epochs = list(unfreeze_at)
    if policy == "gradual" and (not epochs or epochs[0] < 0 or epochs != sorted(epochs)):
        raise ValueError(f"unfreeze_at={epochs} must be a list of epochs, non-negative and non-decreasing")
    if policy != "full" and head_of(net) is None:
        raise ValueError(f"policy={policy}: this {type(net).__name__} has no head; use policy=full")


def trainable_layers(net: nn.Module) -> Iterator[tuple[str, tuple[nn.Module, ...]]]:
    """(name, modules) of the layers that have parameters, from the input up.

    A net of another library that is wrapped as a single layer ``body`` is split into its children, unless it divides
    itself. Modules without parameters, or with normalization layers only, belong to the layer before them.
    """
    # If the net defines its layers itself, use those.
    named = list(net.layer_modules()) if isinstance(net, DividesItself) else []
    # A net without ``layers`` has none. If ``body`` is the only child of ``layers``, use its children.
    if not named:
        children = dict(net.named_children())
        inside = dict(children["layers"].named_children()) if "layers" in children else {}
        parts = _unpacked(inside["body"]) if set(inside) == {"body"} else inside.items()
        named = [(name, (module,)) for name, module in parts]

    # Collect the modules of each layer. Modules before the first layer belong to the first layer.
    layers: list[tuple[str, list[nn.Module]]] = []
    before: list[nn.Module] = []
    for name, modules in named:
        if not all(_only_normalizes(module) for module in modules):
            layers.append((name, [*before, *modules]))
            before = []
        elif layers:
            layers[-1][1].extend(modules)
        else:
            before.extend(modules)

    # Layers that only have a number are named "layer0", "layer1" and so on. The body may have a "head" of its own.
    for name, found in layers:
        prefix = "layer" if name.isdecimal() else "body." if name in HEADS else ""
        yield f"{prefix}{name}", tuple(found)


def _only_normalizes(module: nn.Module) -> bool:
    """Whether all parameters of a module belong to normalization layers. True if it has no parameters."""
    # Consider only the modules that have parameters themselves, not through their children.
    with_parameters = [part for part in module.modules() if list(part.parameters(recurse=False))]
    return all(isinstance(part, NORMALIZATIONS) for part in with_parameters)


def _unpacked(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The children of a module by name, with each container replaced by its children."""
    for name, child in module.named_children():
        if name in CONTAINERS:
            for inner, part in _unpacked(child):
                yield f"{name}.{inner}", part
        else:
            yield name, child
