"""Check a net or data that a program passes in place of those of the config; a part of `zoo.training.checks`.

A net of the zoo says which inputs it takes and how many outputs it has. Any other `torch.nn.Module` is tried
on two examples: the number of its outputs must be the one that the data need.
"""

from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch._dynamo.eval_frame import OptimizedModule

from zoo.data.splits import Splits
from zoo.protocols import Net, eval_mode, shape_text
from zoo.tasks.batch_checks import wrong_outputs
from zoo.tasks.freezing import check_trained, release
from zoo.training.plan import Given

TRIED = 2  # examples; batch normalization in training mode would refuse a single one


def refuse_missing(cfg: DictConfig, given: Given) -> None:
    """Raise ValueError if the config has no net or no data, and none is given: such a run was started from Python."""
    parts = (("model.net", cfg.model.net, given.net), ("dataset.source", cfg.dataset.source, given.splits))
    for key, node, value in parts:
        if not node and value is None:
            raise ValueError(
                f"{key} is empty: this run was started from Python with a net or data that its config cannot name; "
                "continue it from Python with zoo.train(…, folder=…, resume=True)"
            )


def ready(net: nn.Module) -> nn.Module:
    """The net in training mode; a net of `zoo.load` or of an earlier training is in eval mode.

    Raises:
        ValueError: the net has no parameters, they have no values, or none requires a gradient.
    """
    if next(net.parameters(), None) is None:
        raise ValueError(
            f"this {type(net).__name__} has no parameters, so there is nothing to train; layers in a list or dict "
            "must be in an nn.ModuleList or nn.ModuleDict instead"
        )
    if any(parameter.is_meta for parameter in net.parameters()):
        raise ValueError(f"this {type(net).__name__} has parameters on the meta device, which have no values")
    release(net.parameters())
    check_trained(net, net.parameters())
    return net.train()


class WithOutputs(nn.Module):
    """A net that is not one of the zoo's, with the attributes that a task with targets reads.

    Args:
        net: the net, which is trained in place.
        in_shape: shape of one input.
        num_classes: number of its outputs.
    """

    def __init__(self, net: nn.Module, *, in_shape: tuple[int, ...], num_classes: int):
        super().__init__()
        self.net = net
        self.in_shape = in_shape
        self.num_classes = num_classes

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.net(x)
        return outputs


def unwrapped(net: nn.Module) -> nn.Module:
    """The net within `WithOutputs`, torch.compile and DataParallel, whose weights have the names of its class."""
    if isinstance(net, WithOutputs):
        return unwrapped(net.net)
    if isinstance(net, OptimizedModule):
        return unwrapped(net._orig_mod)
    return unwrapped(net.module) if isinstance(net, nn.DataParallel) else net


def count_outputs(net: nn.Module, shape: Sequence[int]) -> int | None:
    """The number of outputs of a net for inputs of this shape; None if it has none, or fails for them."""
    if isinstance(net, Net):
        return net.num_classes
    try:
        outputs = _try(net, torch.zeros(TRIED, *shape))
    except Exception:  # the net is the user's; `with_outputs` reports what it raises
        return None
    return outputs.shape[1] if isinstance(outputs, Tensor) and outputs.dim() == 2 else None


def _try(net: nn.Module, examples: Tensor) -> Any:
    """The outputs of a net, which is not changed; it may be on an accelerator."""
    parameter = next(net.parameters(), None)
    device = examples.device if parameter is None else parameter.device
    with torch.random.fork_rng(devices=[]), torch.no_grad(), eval_mode(net):
        return net(examples.to(device))


def with_outputs(net: nn.Module, splits: Splits, inputs: Tensor, *, model_and_dataset: str) -> WithOutputs:
    """The net as tasks with targets need it, after checking that it has the outputs that the data need.

    Args:
        net: the net; its weights and buffers are not changed.
        splits: the data.
        inputs: preprocessed examples, N x shape.
        model_and_dataset: names of both, for messages.

    Raises:
        ValueError: the net cannot compute its outputs for the inputs, or they are not N x outputs.
    """
    name = type(net).__name__
    examples = inputs[:TRIED]
    try:
        outputs = _try(net, examples)
    except Exception as error:  # the net is the user's: it may raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"{model_and_dataset}: {name} fails for inputs of shape {shape_text(splits.shape)}: {reason}"
        ) from error

    # The tasks compare N x outputs with the targets.
    wrong = wrong_outputs(outputs, net=name, examples=len(examples), width=splits.num_outputs, matrix=True)
    if wrong:
        raise ValueError(f"{model_and_dataset}: {wrong}")
    if outputs.shape[1] != splits.num_outputs:
        hint = " (y has real numbers, which are target values; class numbers must be integers)"
        hint = hint if splits.num_targets else ""
        raise ValueError(
            f"{model_and_dataset}: the net has {outputs.shape[1]} outputs, the data need {splits.num_outputs}{hint}"
        )
    # Messages name the class of the net, so give this class the name of the user's class.
    kind: type[WithOutputs] = type(name, (WithOutputs,), {})
    return kind(net, in_shape=splits.shape, num_classes=splits.num_outputs)
