"""The base of classification and regression: training with targets, and fine-tuning by freezing layers.

A frozen layer is a fixed function, so its batch normalization and dropout are held in evaluation mode too. (Lightning's
own `BaseFinetuning` leaves them in training mode.)

May import Lightning, `zoo.protocols` and its neighbors in this folder.
"""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.protocols import HasHead, PartlyGenerative, layers_of
from zoo.tasks.freezing import LayerGroup, layer_groups
from zoo.tasks.layer_input import LayerInput
from zoo.tasks.optimization import Optimization
from zoo.tasks.task import Task


class SupervisedTask(Task):
    """Abstract: a task with targets, of a whole net whose layers can be frozen for some epochs or throughout.

    Args:
        net: the net.
        layer: must be None; one layer alone has no targets.
        optimization: optimizer and learning-rate schedule; None for evaluation only.
        policy, unfreeze_at, head_lr_factor, layer_decay: as in `layer_groups`.

    Attributes:
        layer_groups: the groups of the net, from the head down.
        frozen: those that are frozen at present.

    Raises:
        ValueError: a ``layer``, or as `layer_groups`.
    """

    layer_input: LayerInput

    def __init__(
        self,
        net: nn.Module,
        layer: int | None,
        *,
        optimization: Optimization | None,
        policy: str,
        unfreeze_at: Sequence[int],
        head_lr_factor: float,
        layer_decay: float,
    ):
        super().__init__()
        if layer is not None:
            raise ValueError(f"{type(self).__name__} trains the whole net; set order=joint")
        self.net = net
        self.optimization = optimization

        # Parameters that forward does not use, such as the visible biases of a stack of RBMs, are no group's.
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

        # Where the head alone is ever trained, the features that it reads are constants: they may be computed once.
        constant = policy == "head" and isinstance(net, HasHead)
        self.layer_input = LayerInput(net, len(layers_of(net)) if constant else 0)

    def outputs(self, x: Tensor) -> Tensor:
        """N x in_shape, or N x features where those were computed beforehand -> N x outputs."""
        # If the batches hold features, the layers below the head have done their work already.
        if self.layer_input.ready:
            return cast(HasHead, self.net).forward_head(x)
        outputs: Tensor = self.net(x)
        return outputs

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters of all groups that are ever trained, from the head down."""
        return [parameter for group in self.layer_groups if group.begin is not None for parameter in group.parameters]

    def parameter_groups(self) -> list[Any]:
        """One optimizer group for each group that is ever trained, all of them there from the start.

        A plain list if all are trained alike from the start.
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
        """Training mode for all but the frozen groups, whose normalization and dropout stay in evaluation mode."""
        # Lightning calls this after every validation, so frozen groups must be put back each time.
        super().train(mode)
        for group in self.frozen:
            for module in group.modules:
                module.eval()
        return self

    def begin_epoch(self) -> None:
        """Freeze the groups whose epoch has not come."""
        self.frozen = [group for group in self.layer_groups if not group.trains(self.current_epoch)]
        self.train()

        # Save the gradients of frozen groups. Several processes wait for all gradients that there were at the start,
        # so they compute them; `on_before_optimizer_step` drops them.
        if self.trainer.world_size == 1:
            for group in self.layer_groups:
                for parameter in group.parameters:
                    parameter.requires_grad_(group not in self.frozen)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        rates = {group["name"]: group["lr"] for group in self.trainer.optimizers[0].param_groups if "name" in group}
        if not rates:
            return

        # Log the learning rate of each group, 0 while it is frozen. Written at once: what `log` keeps until the end of
        # the epoch is lost when the run is stopped within it.
        rates |= {group.name: 0.0 for group in self.frozen}
        row = {f"lr/{name}": rate for name, rate in rates.items()}
        row["epoch"] = self.current_epoch
        for logger in self.loggers:
            logger.log_metrics(row, step=self.global_step)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Drop the gradients of frozen groups: optimizers then pass them over, momentum and weight decay included."""
        for group in self.frozen:
            for parameter in group.parameters:
                parameter.grad = None

    def teardown(self, stage: str) -> None:
        """Unfreeze everything, or a later stage would find layers in evaluation mode."""
        super().teardown(stage)
        if self.frozen:
            self.frozen = []
            self.train()
