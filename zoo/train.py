"""``zoo train``: walk a model's stages and, in each, the fits that its schedule yields, every one with a fresh Trainer.

The run folder gets ``config.yaml`` (resolved), ``metrics.csv`` (every logged step), ``checkpoints/last.ckpt`` (to go on
from), and in the end ``model.safetensors``, ``metrics.json``, ``curves.png`` and, for classes, ``confusion.png``. A
stage without labels leaves the pictures of `zoo.gallery`.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from math import ceil, inf
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo import checkpoints, config, gallery, pickled, pictures, prepare, schemas, weights
from zoo.checkpoints import CheckpointInfo
from zoo.data.image_folder import read_like
from zoo.data.module import DataModule, batches
from zoo.data.preprocess import Preprocess
from zoo.data.splits import InMemory, Splits, seed_from, shape_text
from zoo.features import encoded
from zoo.fit import fit, measure
from zoo.history import History
from zoo.stopping import Request, noting
from zoo.tasks import Classification, Regression, Task
from zoo.tasks.encoded import Encoded
from zoo.tasks.optimization import Optimization

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
            lr_schedule=partial(config.build, self.config.lr_schedule),
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
        inputs = getattr(task, "inputs", None)
        if not isinstance(inputs, Encoded) or not inputs.depth or not self.config.encode_once:
            return None
        codes = encoded(task.net, self.splits, preprocess, depth=inputs.depth, device=device, workers=workers)
        inputs.ready = codes is not None
        return codes


def train(cfg: DictConfig) -> dict[str, float]:
    """One run. Returns its metrics.

    Raises:
        ValueError, FileNotFoundError: a config, dataset or pair of both that cannot work; nothing is written then.
    """
    folder, command, resume = config.run_folder(), config.command("train"), None
    again = cfg.resume is not None
    if again:
        folder = Path(cfg.resume)
        cfg, command = _resumed_config(folder)
        if (folder / "metrics.json").is_file():
            _announce([f"{folder}: this run is finished; nothing is left to go on with"])
            return json.loads((folder / "metrics.json").read_text())
        resume = _last_checkpoint(folder)
        checkpoints.remove_unfinished(folder)
    _settle_stages(cfg)
    place = prepare.place(cfg.accelerator)
    splits = prepare.dataset(cfg.dataset)
    augment = config.build(cfg.dataset.augment, where="dataset.augment")
    if augment and len(splits.shape) != 3:
        raise ValueError(f"dataset.augment is for pictures; dataset {cfg.dataset.name} is {shape_text(splits.shape)}")
    if augment.mixes and not splits.classes:
        raise ValueError(f"mixup and cutmix mix classes; dataset {cfg.dataset.name} has none")
    seed_everything(cfg.seed, verbose=False)
    net = prepare.net(cfg.model, splits, dataset=cfg.dataset.name)
    preprocess = _preparation(cfg, net, splits) if resume is None else _resumed_preparation(folder)
    splits = read_like(splits, preprocess)
    stages = _stages(cfg, splits, net)
    plans = _rehearse(cfg, stages, net, splits, preprocess)
    history = History(folder / "metrics.csv")
    loggers = [history, *_extra_logger(cfg.logger)]

    if not again:
        _begin(folder, cfg, command, preprocess)
    _announce([*(f"note: {note}" for note in splits.notes), *plans])
    with noting() as request:
        _fit_stages(cfg, stages, net, splits, preprocess, resume, request, folder, history, loggers)
    task = config.build(stages[-1].config.task, net)  # of the whole net, whatever part was fitted last
    metrics = measure(task, DataModule(splits, preprocess=preprocess, workers=cfg.dataset.workers), place=place)
    for stage in stages:
        if stage.config.stop_below is not None:
            metrics |= {f"{fit}/steps": steps for fit, steps in history.steps(stage.name).items()}
    about = _describe(cfg, stages[-1], net, splits, preprocess, metrics, command)
    _write(folder, net, about, history, task, stages)
    return metrics


def _fit_stages(
    cfg: DictConfig,
    stages: list[Stage],
    net: nn.Module,
    splits: Splits,
    preprocess: Preprocess,
    resume: dict[str, Any] | None,
    request: Request,
    folder: Path,
    history: History,
    loggers: list[Logger],
) -> None:
    """Every fit of every stage, one after the other; from ``resume`` on, the contents of a ``last.ckpt``."""
    place = prepare.place(cfg.accelerator)
    augment = config.build(cfg.dataset.augment, where="dataset.augment")
    for stage in stages:
        fitted = False
        for name, task in stage.fits(net):
            if resume is not None and name != resume["fit"]:
                continue  # finished before: its result is in the checkpoint of the later fit
            if resume is not None:  # now, since the codes of lower layers are computed before the Trainer loads it
                state = {key[4:]: value for key, value in resume["state_dict"].items() if key.startswith("net.")}
                net.load_state_dict(state)
            seed = seed_from(cfg.seed, name)
            seed_everything(seed % 2**32, verbose=False)
            history.start(name, step=resume["global_step"] if resume else 0)
            codes = None
            if not augment:
                codes = stage.codes(task, preprocess, prepare.device(place), workers=cfg.dataset.workers)
            examples, prepared = codes or (stage.splits, preprocess)
            data = DataModule(
                examples,
                preprocess=prepared,
                augment=augment,
                batch_size=stage.config.batch_size,
                seed=seed,
                workers=cfg.dataset.workers,
                drop_single=stage.drop_single,
            )
            fit(
                task,
                data,
                stage.config,
                name=name,
                folder=folder / "checkpoints",
                loggers=loggers,
                place=place,
                resume=folder / "checkpoints" / "last.ckpt" if resume else None,
                progress=cfg.progress,
                request=request,
            )
            resume, fitted = None, True
        if fitted and not stage.needs_labels:
            _draw(net, splits, preprocess, folder, prefix=stage.name, codes=cfg.codes)
    if resume is not None:
        raise ValueError(f"{folder}: its last.ckpt is of a fit {resume['fit']!r} that its config.yaml does not have")


@rank_zero_only
def _draw(net: nn.Module, splits: Splits, preprocess: Preprocess, folder: Path, *, prefix: str, codes: str) -> None:
    gallery.draw(net, splits, preprocess, folder, prefix=prefix, codes=codes)


def _stages(cfg: DictConfig, splits: Splits, net: nn.Module) -> list[Stage]:
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


def _preparation(cfg: DictConfig, net: nn.Module, splits: Splits) -> Preprocess:
    """From raw values to the net's inputs: as its pretrained weights had it, which are loaded here, or by the data."""
    known = None
    if cfg.weights is not None:
        known = weights.load(net, cfg.weights, head=cfg.weights_head).preprocess
    if known is None:
        return Preprocess.fit(prepare.sample(splits), standardize=cfg.model.inputs == "standardized")
    real = isinstance(splits.train, InMemory) and splits.train.x.is_floating_point()
    return weights.for_data(known, splits.shape, scale=1.0 if real else 255.0)


def _resumed_preparation(folder: Path) -> Preprocess:
    return Preprocess.from_dict(json.loads((folder / "preprocess.json").read_text()))


def _rehearse(
    cfg: DictConfig, stages: list[Stage], net: nn.Module, splits: Splits, preprocess: Preprocess
) -> list[str]:
    """On a copy of the net, whatever a later stage would trip over after hours: ValueError now.

    Returns:
        A line for each fit of which not all learns from the start: which parts learn when.
    """
    net, plans = deepcopy(net), []
    raw: Tensor | None = None  # read once, if a task asks for it
    if cfg.codes not in pictures.CODE_MAPS:
        raise ValueError(f"codes={cfg.codes}: choose {' or '.join(pictures.CODE_MAPS)}")
    for stage in stages:
        prepare.refuse_precision(stage.config, cfg.accelerator.precision)
        for _, task in stage.fits(net):
            task.configure_optimizers()
            begins = {part.name: part.begin for part in getattr(task, "parts", ())}
            if set(begins.values()) > {0}:
                plan = ", ".join(f"{n} {'never' if e is None else f'from epoch {e}'}" for n, e in begins.items())
                plans.append(f"{stage.name}: {plan}")
            if isinstance(task, Classification | Regression):
                continue
            raw = prepare.sample(splits) if raw is None else raw
            try:
                task.check(preprocess(raw[:CHECKED] if raw.dtype == torch.uint8 else raw))
            except ValueError as error:
                raise ValueError(f"model {cfg.model.name} with dataset {cfg.dataset.name}: {error}") from error
    return plans


@rank_zero_only
def _begin(folder: Path, cfg: DictConfig, command: str, preprocess: Preprocess) -> None:
    """The first files of a run folder."""
    path = folder / "config.yaml"
    if path.exists():
        raise FileExistsError(
            f"{folder} holds a run already: go on with resume={folder}, or name another hydra.run.dir="
        )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {command}\n{OmegaConf.to_yaml(cfg, resolve=True)}")
    (folder / "preprocess.json").write_text(json.dumps(preprocess.to_dict()) + "\n")


@rank_zero_only
def _announce(lines: list[str]) -> None:
    """What a user should know beforehand: oddities of the data, and which parts of the net learn when."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for line in lines:
        console.print(line)


def _settle_stages(cfg: DictConfig) -> None:
    """Let the root's epochs, batch_size and lr go before the stages' own, and check all that a stage will build."""
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


def _extra_logger(node: DictConfig | None) -> list[Logger]:
    if node is None:
        return []
    try:
        return [config.build(node, where="logger")]
    except ModuleNotFoundError as error:
        raise ValueError(
            f"logger: {error.name or error} is not installed; pip install it, or leave logger= out"
        ) from error


def _last_checkpoint(folder: Path) -> dict[str, Any] | None:
    """What the run was left with; None where it was stopped before anything was saved."""
    path = folder / "checkpoints" / "last.ckpt"
    return pickled.load(path) if path.is_file() else None


def _resumed_config(folder: Path) -> tuple[DictConfig, str]:
    """The run's own config and command; nothing of the new command line but ``resume`` counts."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"resume={folder}: no run is there (no config.yaml); name the folder of an earlier one")
    cfg = OmegaConf.merge(OmegaConf.structured(schemas.Train), OmegaConf.load(path))
    assert isinstance(cfg, DictConfig)
    return cfg, path.read_text().partition("\n")[0].removeprefix("# ")


def _describe(
    cfg: DictConfig,
    last: Stage,
    net: nn.Module,
    splits: Splits,
    preprocess: Preprocess,
    metrics: dict[str, float],
    command: str,
) -> CheckpointInfo:
    # The dataset's root may be a variable of the environment, to be looked up again where the file is used.
    dataset = OmegaConf.to_container(cfg.dataset, resolve=False)
    return CheckpointInfo(
        name=cfg.model.name,
        net=OmegaConf.to_container(cfg.model.net, resolve=True),  # type: ignore[arg-type]
        task=OmegaConf.to_container(last.config.task, resolve=True),  # type: ignore[arg-type]
        preprocess=preprocess.to_dict(),
        classes=list(splits.classes) if last.needs_labels or getattr(net, "label_units", False) else [],
        metrics=metrics,
        num_params=sum(parameter.numel() for parameter in net.parameters()),
        command=command,
        dataset=cfg.dataset.name,
        dataset_config=dataset,  # type: ignore[arg-type]
        license=cfg.dataset.license,
        **checkpoints.provenance(),
    )


@rank_zero_only
def _write(
    folder: Path, net: nn.Module, about: CheckpointInfo, history: History, task: Task, stages: list[Stage]
) -> None:
    """What the run folder keeps, and the table in the terminal."""
    checkpoints.save(net, folder / "model.safetensors", about)
    monitors = dict.fromkeys(config.check(stage.config.task)[0].monitor for stage in stages)  # type: ignore[attr-defined]
    panels = {"loss": ("train/loss", "val/loss")} | {
        monitor: (monitor,) for monitor in monitors if monitor != "val/loss"
    }
    lines = {
        title: {
            name if fit == "fit" else f"{fit} {name}": series
            for name in names
            for fit, series in history.series(name).items()
        }
        for title, names in panels.items()
    }
    logged = {title: found for title, found in lines.items() if found}  # without a validation part, less than asked for
    pictures.curves(logged or lines, folder / "curves.png")
    if isinstance(task, Classification) and task.confusion:
        pictures.confusion(task.confusion, about.classes, folder / "confusion.png")
    with checkpoints.replacing(folder / "metrics.json") as temporary:  # last: a run that has it is finished
        temporary.write_text(json.dumps(about.metrics, indent=2) + "\n")
    table = Table(title=f"{about.name} on {about.dataset}: {about.num_params:,} parameters", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in sorted(about.metrics.items()):
        table.add_row(name, str(value) if isinstance(value, int) else f"{value:.4f}")
    console = Console()
    console.print(table)
    here = Path.cwd()
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    console.print(f"run folder: {shown}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    from zoo.cli import main

    main("train")
