"""A model's stages: their configs settled and checked, what each one learns from, the fits that its schedule yields."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from math import ceil, inf

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.checkpoints import pretrained as weights
from zoo.config import build as config
from zoo.data.datamodule import batches
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Splits
from zoo.plots.latent import LATENT_MAPS
from zoo.tasks import Classification, Regression, Task
from zoo.tasks.optimization import Optimization
from zoo.training import checks as prepare
from zoo.training.feature_cache import encoded

CHECKED = 1000  # pictures that a task looks at before anything is fitted; of real values, all


@dataclass(frozen=True)
class Stage:
    """A stage that is to be run: its config, the examples that its task learns from, and how they are batched."""

    name: str
    config: DictConfig
    splits: Splits
    needs_labels: bool
    drop_single: bool

    def fits(self, net: nn.Module) -> Iterator[tuple[str, Task]]:
        """(name, task) of every fit, in order; a task is made when it is its turn."""
        where = f"model.stages.{self.name}"
        optimization = Optimization(
            optimizer=partial(config.build, self.config.optimizer, where=f"{where}.optimizer"),
            lr_schedule=config.build(self.config.lr_schedule),
            total_steps=self.config.epochs
            * batches(len(self.splits.train), self.config.batch_size, drop_single=self.drop_single),
        )
        task = partial(config.build, self.config.task, optimization=optimization)
        for part, fit_task in config.build(self.config.schedule, net, task):
            yield (self.name if part == "net" else f"{self.name}.{part}"), fit_task

    def codes(
        self, task: Task, preprocess: Preprocess, device: torch.device, *, workers: int
    ) -> tuple[Splits, Preprocess] | None:
        """What a task about a layer learns from, the codes of those below, where they are to be computed beforehand."""
        inputs = task.layer_input
        if inputs is None or not inputs.depth or not self.config.encode_once:
            return None
        codes = encoded(task.net, self.splits, preprocess, depth=inputs.depth, device=device, workers=workers)
        inputs.ready = codes is not None
        return codes


def settle(cfg: DictConfig) -> None:
    """Let the root's epochs, batch_size and lr go before the stages' own, and check all that a stage will build.

    Raises:
        ValueError: a value out of its range, or a target that is not allowed.
    """
    config.check_seed(cfg.seed)
    if not cfg.model.stages:
        raise ValueError("model.stages: at least one stage is needed")
    if cfg.model.inputs not in ("standardized", "unit"):
        raise ValueError(f"model.inputs={cfg.model.inputs}: choose standardized or unit")
    if cfg.weights_head not in weights.HEAD_CHOICES:
        raise ValueError(f"weights_head={cfg.weights_head}: choose {' or '.join(weights.HEAD_CHOICES)}")
    for name, stage in cfg.model.stages.items():
        for key in ("epochs", "batch_size"):
            stage[key] = stage[key] if cfg[key] is None else cfg[key]
            if stage[key] < (0 if key == "epochs" and len(cfg.model.stages) > 1 else 1):
                raise ValueError(f"{key}={stage[key]}: at least 1 is needed")
        stage.optimizer.lr = stage.optimizer.lr if cfg.lr is None else cfg.lr
        for key, value, most in (
            ("lr", stage.optimizer.lr, inf),
            ("ema", stage.ema, 1),
            ("gradient_clip", stage.gradient_clip, inf),
            ("patience", stage.patience, inf),
            ("stop_below", stage.stop_below, inf),
        ):
            if value is not None and not 0 <= value < most:
                raise ValueError(f"{key}={value}: from 0 up to {'any number' if most == inf else most} is allowed")
        if stage.gradient_clip and cfg.accelerator.precision.endswith("mixed") and stage.optimizer.get("fused"):
            stage.optimizer.fused = False  # fused, it would unscale the gradients only after they were clipped
        if stage.checkpoint_every < 0:
            raise ValueError(f"checkpoint_every={stage.checkpoint_every}: epochs, or 0 for no checkpoints, are needed")
        for key in ("checkpoint_every_steps", "checkpoint_every_minutes"):
            if stage[key] is not None and stage[key] <= 0:
                raise ValueError(f"{key}={stage[key]}: more than 0 is needed, or null for none")
        if stage.min_steps is not None and stage.min_steps < 1:
            raise ValueError(f"min_steps={stage.min_steps}: at least 1 is needed")
        for part in ("schedule", "task", "optimizer", "lr_schedule"):
            config.check(stage[part], where=f"model.stages.{name}.{part}")
    if not any(stage.epochs for stage in cfg.model.stages.values()):
        raise ValueError("epochs=0: at least one stage must have some")


def plan(cfg: DictConfig, splits: Splits, net: nn.Module) -> list[Stage]:
    """The stages that have epochs, each with its examples, its min_steps turned into epochs."""
    labelled = splits
    if cfg.dataset.labels is not None:
        if getattr(net, "label_units", 0):
            raise ValueError("dataset.labels: a net with label_units learns all labels together with the data")
        labelled = splits.keep_labels(cfg.dataset.labels, seed=cfg.seed)
    stages = []
    normalises = any(isinstance(module, _BatchNorm) for module in net.modules())
    for name, stage in cfg.model.stages.items():
        if not stage.epochs:
            continue
        needs_labels = config.check(stage.task)[0].targets != "none"  # type: ignore[attr-defined]
        examples = labelled if needs_labels else splits
        if stage.min_steps is not None:
            steps = batches(len(examples.train), stage.batch_size, drop_single=normalises)
            stage.epochs = max(stage.epochs, ceil(stage.min_steps / steps))
        stages.append(Stage(name, stage, examples, needs_labels, normalises))
    return stages


def rehearse(cfg: DictConfig, stages: list[Stage], net: nn.Module, splits: Splits, preprocess: Preprocess) -> list[str]:
    """On a copy of the net, whatever a later stage would trip over after hours: ValueError now.

    Returns:
        A line for each fit of which not all learns from the start: which parts learn when.
    """
    net, plans = deepcopy(net), []
    raw: Tensor | None = None  # read once, if a task asks for it
    if cfg.codes not in LATENT_MAPS:
        raise ValueError(f"codes={cfg.codes}: choose {' or '.join(LATENT_MAPS)}")
    for stage in stages:
        prepare.refuse_precision(stage.config, cfg.accelerator.precision)
        for _, task in stage.fits(net):
            task.configure_optimizers()
            begins = task.training_plan()
            if set(begins.values()) > {0}:
                plan = ", ".join(f"{n} {'never' if e is None else f'from epoch {e}'}" for n, e in begins.items())
                plans.append(f"{stage.name}: {plan}")
            if isinstance(task, Classification | Regression):
                continue
            raw = prepare.sample(splits) if raw is None else raw
            try:
                task.check_inputs(preprocess(raw[:CHECKED] if raw.dtype == torch.uint8 else raw))
            except ValueError as error:
                raise ValueError(f"model {cfg.model.name} with dataset {cfg.dataset.name}: {error}") from error
    return plans
