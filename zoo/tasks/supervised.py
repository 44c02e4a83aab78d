"""The base class of classification and regression: training with targets, and fine-tuning with frozen layers.

A frozen layer is a fixed function, so its batch normalization and dropout are held in evaluation mode too. (Lightning's
own `BaseFinetuning` leaves them in training mode.)

May import Lightning, `zoo.protocols` and its neighbors in this folder.
"""

from collections.abc import Sequence
from math import inf
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from zoo.protocols import HasAuxiliaryHeads, HasHead, HasOutputs, PartlyGenerative, layers_of
from zoo.tasks.batch_checks import check_pair, wrong_outputs
from zoo.tasks.freezing import LayerGroup, hold, layer_groups, release
from zoo.tasks.layer_input import LayerInput
from zoo.tasks.optimization import MakeOptimizer, MakeSchedule, is_logging_step
from zoo.tasks.task import Batch, Task


class SupervisedTask(Task):
    """Abstract: trains a whole net with targets. Layers can be frozen for some epochs or for the whole fit.

    Args:
        net: the net.
        layer: must be None, since a single layer has no targets.
        optimizer, lr_schedule, total_steps: as in `zoo.tasks.task.Task`.
        policy, unfreeze_at, head_lr_factor, layer_decay: as in `layer_groups`.
        freeze_statistics: hold batch normalization in evaluation mode, so that its mean and variance stay as they are.
        auxiliary_weight: weight of the loss of each auxiliary head, if the net has any; 0: not used.

    Attributes:
        layer_groups: the groups of the net, from the head down.
        frozen: the groups that are currently frozen.

    Raises:
        ValueError: ``layer`` is not None, or an argument that `layer_groups` refuses.
    """

    layer_input: LayerInput
    num_classes: int | None = None  # number of outputs of the net; None: as many as there are targets

    def __init__(
        self,
        net: nn.Module,
        layer: int | None,
        *,
        optimizer: MakeOptimizer | None,
        lr_schedule: MakeSchedule | None,
        total_steps: int | None,
        policy: str,
        unfreeze_at: Sequence[int],
        head_lr_factor: float,
        layer_decay: float,
        freeze_statistics: bool = False,
        auxiliary_weight: float = 0.0,
    ):
        super().__init__(optimizer=optimizer, lr_schedule=lr_schedule, total_steps=total_steps)
        if layer is not None:
            raise ValueError(f"{type(self).__name__} trains the whole net; set order=joint")
        self.net = net

        # Exclude parameters that `forward` does not use, such as the visible biases of a stack of RBMs.
        generative = list(net.generative_parameters()) if isinstance(net, PartlyGenerative) else []
        self.layer_groups = layer_groups(
            net,
            policy=policy,
            unfreeze_at=unfreeze_at,
            head_lr_factor=head_lr_factor,
            layer_decay=layer_decay,
            leave_out=generative,
        )
        self.frozen: list[LayerGroup] = []

        # Batch normalization whose statistics stay as they are, even in training.
        self.normalizations = [
            module for module in net.modules() if freeze_statistics and isinstance(module, _BatchNorm)
        ]

        # Auxiliary heads add gradients to the layers below them, so they are not needed if only the head is trained.
        self.auxiliary_weight = auxiliary_weight
        self.has_auxiliaries = isinstance(net, HasAuxiliaryHeads) and bool(auxiliary_weight) and policy != "head"

        # If only the head is trained, the features below it are constant and can be computed once for the whole fit.
        constant = policy == "head" and isinstance(net, HasHead)
        self.layer_input = LayerInput(net, len(layers_of(net)) if constant else 0)

    def outputs(self, x: Tensor) -> Tensor:
        """The outputs of the net: N x in_shape, or N x features if the features were precomputed -> N x outputs."""
        # If the batches hold features, only the head is left to compute.
        if self.layer_input.ready:
            return cast(HasHead, self.net).forward_head(x)
        outputs: Tensor = self.net(x)
        return outputs

    def checked_outputs(self, x: Tensor, y: Tensor) -> Tensor:
        """`outputs` for x; those of the first batch are checked together with its targets ``y``."""
        outputs = self.outputs(x)
        if self.first_batch:
            self.check_outputs(outputs, y)
        return outputs

    def training_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The training loss of the outputs of one head with targets ``y``, a scalar. Every subclass defines it."""
        raise NotImplementedError

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        # The loss of the head, plus the weighted losses of the auxiliary heads.
        if self.has_auxiliaries:
            outputs, auxiliary_outputs = cast(HasAuxiliaryHeads, self.net).forward_with_auxiliaries(x)
            if self.first_batch:
                self.check_outputs(outputs, y)
            auxiliary = sum(self.training_loss(aux, y) for aux in auxiliary_outputs)
            loss = self.training_loss(outputs, y) + self.auxiliary_weight * auxiliary
        else:
            loss = self.training_loss(self.checked_outputs(x, y), y)
        if is_logging_step(self):
            self.log("train/loss", loss, prog_bar=True)
        return loss

    def check_batch(self, batch: Batch) -> None:
        check_pair(batch, task=type(self).__name__)

    def check_outputs(self, outputs: Tensor, y: Tensor) -> None:
        """Raise ValueError if the net does not return N x outputs, or if the targets ``y`` do not fit them."""
        name, width = type(self.net).__name__, self.num_classes
        wrong = wrong_outputs(outputs, net=name, examples=len(y), width=width or "targets")
        if wrong:
            raise ValueError(wrong)
        if width is not None and outputs.shape[1] != width:
            raise ValueError(
                f"num_classes={width}, but {name} has {outputs.shape[1]} outputs: set num_classes to the number of "
                "classes, and give the net as many outputs"
            )

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters of all groups that are trained in some epoch, from the head down."""
        return [parameter for group in self.layer_groups if group.begin is not None for parameter in group.parameters]

    def parameter_groups(self) -> list[Any]:
        """One optimizer group for each layer group that is trained in some epoch.

        A plain list of parameters if all groups are trained from the start with the same learning rate.
        """
        if all(group.begin == 0 and group.lr_factor == 1 for group in self.layer_groups):
            return self.trainable_parameters()
        return [
            {"params": list(group.parameters), "lr_factor": group.lr_factor, "name": group.name}
            for group in self.layer_groups
            if group.begin is not None
        ]

    def training_plan(self) -> dict[str, int | None]:
        return {group.name: group.begin for group in self.layer_groups}

    def train(self, mode: bool = True) -> "SupervisedTask":
        """Set training mode, except for frozen groups: their normalization and dropout stay in evaluation mode.

        With ``freeze_statistics``, batch normalization stays in evaluation mode everywhere.
        """
        # Lightning calls this after every validation, so frozen groups must be reset to evaluation mode each time.
        super().train(mode)
        for group in self.frozen:
            for module in group.modules:
                module.eval()
        for normalization in self.normalizations:
            normalization.eval()
        return self

    def begin_epoch(self) -> None:
        """Freeze the groups that are not trained in this epoch."""
        self.frozen = [group for group in self.layer_groups if not group.trains(self.current_epoch)]
        self.train()

        # Do not compute the gradients of frozen groups. With several processes they must be computed, since DDP waits
        # for the gradients of all parameters that required one at the start; `on_before_optimizer_step` drops them.
        if self.trainer.world_size == 1:
            for group in self.layer_groups:
                (hold if group in self.frozen else release)(group.parameters)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        rates = {group["name"]: group["lr"] for group in self.trainer.optimizers[0].param_groups if "name" in group}
        if not rates:
            return

        # Log the learning rate of each group, 0 while it is frozen. The loggers get the row immediately: `log`
        # would keep the values until the end of the epoch, and lose them if the run stops within the epoch.
        rates |= {group.name: 0.0 for group in self.frozen}
        row = {f"lr/{name}": rate for name, rate in rates.items()}
        row["epoch"] = self.current_epoch
        for logger in self.loggers:
            logger.log_metrics(row, step=self.global_step)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Drop the gradients of frozen groups, so the optimizer skips them, including momentum and weight decay."""
        for group in self.frozen:
            for parameter in group.parameters:
                parameter.grad = None

    def teardown(self, stage: str) -> None:
        """Unfreeze all layers; otherwise a later stage would find them in evaluation mode."""
        super().teardown(stage)
        if self.frozen or self.normalizations:
            self.frozen = []
            super().train()


def number_of_outputs(task: SupervisedTask, given: int | None) -> int:
    """The number of outputs of a task's net: as given, or its ``num_classes``.

    Raises:
        ValueError: neither is known, or they differ.
    """
    net = task.net
    own = net.num_classes if isinstance(net, HasOutputs) else None
    if given is not None and own is not None and given != own:
        raise ValueError(f"num_classes={given}: this {type(net).__name__} has num_classes={own}")
    count = given if own is None else own
    if not count:
        raise ValueError(f"{type(task).__name__} needs outputs; set num_classes of this {type(net).__name__}")
    return count


def given_weights(weights: bool | Sequence[float], count: int, *, key: str) -> Tensor | None:
    """A list of ``count`` weights as a tensor; None for True, which computes them from the labels.

    Raises:
        ValueError: not as many finite weights >= 0, or not a list; the message begins with the ``key``.
    """
    if weights is True:
        return None
    if isinstance(weights, str) or not isinstance(weights, Sequence):
        raise ValueError(f"{key}={weights} must be true or false, or a list of {count} weights")
    if len(weights) != count or not all(0 <= weight < inf for weight in weights):
        raise ValueError(f"{key}={list(weights)} must have {count} finite weights >= 0")
    return torch.tensor(weights, dtype=torch.float32)
