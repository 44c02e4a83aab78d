"""``zoo train``: a run is a sequence of fits, the stages of a model one after another, each with a fresh Trainer.

A run is begun from a checked `Plan`, or resumed from its folder. The folder gets ``config.yaml`` (resolved),
``metrics.csv`` (every logged step), ``checkpoints/last.ckpt`` (to resume from) and what `zoo.training.outputs` writes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import seed_everything
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from zoo.checkpoints import files
from zoo.checkpoints.safe_pickle import load as load_safely
from zoo.config import compose, hardware, schemas
from zoo.config.build import build
from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.splits import seed_from
from zoo.tasks.task import Task
from zoo.training import checks, outputs, stages
from zoo.training.csv_logger import CSVLogger
from zoo.training.feature_cache import cache_features
from zoo.training.plan import Plan, StagePlan
from zoo.training.signals import stop_on_signals
from zoo.training.trainer import Fit, Session, measure


def train(cfg: DictConfig) -> dict[str, float]:
    """Train as a config says, and return the metrics on the validation and the test split.

    Raises:
        ValueError, FileNotFoundError: a config, dataset or combination that cannot work; nothing is written then.
        Stopped: a signal asked the run to stop; it can be resumed.
    """
    # A finished run is left as it is.
    stopped = None if cfg.resume is None else Path(cfg.resume)
    if stopped is not None and outputs.is_finished(stopped):
        outputs.announce([f"{stopped}: this run is finished; there is nothing to resume"])
        return outputs.finished_metrics(stopped)
    # Train what is left of the run, fit by fit, until the end or a signal.
    run = Run.begin(checks.plan(cfg)) if stopped is None else Run.resume(stopped)
    outputs.announce(run.plan.notes)
    with stop_on_signals() as stop:
        for fit in run.remaining_fits():
            fit.train(stop)
    return run.finish()


@dataclass(frozen=True)
class Run:
    """A checked plan with a folder.

    Attributes:
        plan: what to do.
        folder: where the results go.
        command: the command line that started the run.
        logger: of ``metrics.csv``.
        session: what all fits share.
        checkpoint: the contents of ``last.ckpt`` in a resumed run; None in a new one, or if nothing was saved yet.
    """

    plan: Plan
    folder: Path
    command: str
    logger: CSVLogger
    session: Session
    checkpoint: dict[str, Any] | None = None

    @classmethod
    def begin(cls, plan: Plan, folder: Path | None = None) -> "Run":
        """A new run, in Hydra's folder unless another is given.

        Raises:
            FileExistsError: the folder holds a run already.
            ValueError: the package of the logger is not installed.
        """
        folder = folder or compose.run_folder()
        run = cls._in_folder(plan, folder, compose.command_line("train"))
        outputs.begin(plan, folder, run.command)
        return run

    @classmethod
    def resume(cls, folder: Path) -> "Run":
        """A run that was stopped, from its own config: no other key of the new command line counts.

        Raises:
            FileNotFoundError: there is no run in the folder.
            ValueError: its config or its checkpoint was changed and cannot work.
        """
        path = folder / "config.yaml"
        if not path.is_file():
            raise FileNotFoundError(f"resume={folder}: no run is there (no config.yaml); name the folder of a run")
        # The first line of its config is the command line.
        cfg = OmegaConf.merge(OmegaConf.structured(schemas.Train), OmegaConf.load(path))
        assert isinstance(cfg, DictConfig)
        command = path.read_text().partition("\n")[0].removeprefix("# ")

        # Without last.ckpt, the run was stopped before anything was saved, and starts again.
        last = folder / "checkpoints" / "last.ckpt"
        checkpoint = load_safely(last) if last.is_file() else None

        # The data are prepared as they were; the plan is checked again, since files may have changed.
        files.remove_unfinished(folder)
        preprocess = Preprocess.from_dict(json.loads((folder / "preprocess.json").read_text()))
        plan = checks.plan(cfg, preprocess=preprocess)
        return cls._in_folder(plan, folder, command, checkpoint)

    @classmethod
    def _in_folder(cls, plan: Plan, folder: Path, command: str, checkpoint: dict[str, Any] | None = None) -> "Run":
        logger = CSVLogger(folder / "metrics.csv")
        loggers = [logger, *_extra_loggers(plan)]
        session = Session(folder / "checkpoints", loggers, plan.trainer_kwargs, plan.progress)
        return cls(plan, folder, command, logger, session, checkpoint)

    def remaining_fits(self) -> Iterator[Fit]:
        """The fits that are left to train, each built after the one before it was trained.

        Raises:
            ValueError: ``last.ckpt`` belongs to a fit that the plan does not have.
        """
        checkpoint = self.checkpoint
        for stage in self.plan.stages:
            was_trained = False
            for name, task in stages.fits(stage, self.plan.net):
                # Fits before that of the checkpoint are finished; their results are in its weights.
                if checkpoint is not None and name != checkpoint["fit"]:
                    continue
                yield self._fit(name, task, stage, checkpoint)
                checkpoint = None
                was_trained = True
            # A stage without labels is judged by its plots.
            if was_trained and not stage.needs_labels:
                outputs.draw_stage(self.plan, stage, self.folder)
        if checkpoint is not None:
            raise ValueError(
                f"{self.folder}: last.ckpt belongs to fit {checkpoint['fit']!r}, which config.yaml does not define"
            )

    def _fit(self, name: str, task: Task, stage: StagePlan, checkpoint: dict[str, Any] | None) -> Fit:
        """One fit, resumed from ``checkpoint`` if that is not None."""
        # The Trainer loads the checkpoint later, but the features of lower layers are computed now.
        if checkpoint is not None:
            state = checkpoint["state_dict"]
            net_state = {key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")}
            self.plan.net.load_state_dict(net_state)

        # What a fit draws is a function of the run's seed and its name, whether others ran before or not.
        seed = seed_from(self.plan.seed, name)
        seed_everything(seed % 2**32, verbose=False)
        self.logger.start(name, step=checkpoint["global_step"] if checkpoint else 0)
        return Fit(
            name=name,
            task=task,
            data=self._data(task, stage, seed),
            stage=stage,
            session=self.session,
            resume=self.session.folder / "last.ckpt" if checkpoint else None,
        )

    def _data(self, task: Task, stage: StagePlan, seed: int) -> DataModule:
        """The stage's examples; as features of lower layers, if those are the same in every batch and fit in memory."""
        splits = stage.splits
        preprocess = self.plan.preprocess
        # With augmentation every batch is another, so its features have to be computed each time.
        layer_input = task.layer_input
        if layer_input is not None and layer_input.depth and stage.encode_once and not self.plan.augment.active:
            cached = cache_features(
                self.plan.net,
                splits,
                preprocess,
                depth=layer_input.depth,
                device=hardware.device(self.plan.trainer_kwargs),
                workers=self.plan.workers,
            )
            layer_input.ready = cached is not None
            splits, preprocess = cached or (splits, preprocess)
        return DataModule(
            splits,
            preprocess=preprocess,
            augment=self.plan.augment,
            batch_size=stage.batch_size,
            seed=seed,
            workers=self.plan.workers,
            drop_single=self.plan.drop_single,
        )

    def finish(self) -> dict[str, float]:
        """Measure the trained net, write the results, and return the metrics."""
        # The task of the last stage, for the whole net, whichever layer was trained last.
        plan = self.plan
        task = build(plan.stages[-1].task, plan.net)
        data = DataModule(plan.splits, preprocess=plan.preprocess, workers=plan.workers)
        # Weights are stored in full precision, so they are measured in it, as `zoo evaluate` does.
        trainer_kwargs = dict(plan.trainer_kwargs)
        if trainer_kwargs["precision"].endswith("mixed"):
            trainer_kwargs["precision"] = "32-true"
        metrics = measure(task, data, trainer_kwargs=trainer_kwargs)

        # With stop_below, the number of steps is a result too.
        for stage in plan.stages:
            if stage.stop_below is not None:
                metrics |= {f"{fit}/steps": steps for fit, steps in self.logger.steps(stage.name).items()}

        # Write everything, the metrics last.
        about = outputs.description(plan, self.command, metrics)
        outputs.finish(plan, self.folder, about, task, self.logger)
        return metrics


def _extra_loggers(plan: Plan) -> list[Logger]:
    """The logger that the user asked for beside metrics.csv."""
    if plan.logger is None:
        return []
    try:
        return [build(plan.logger, where="logger")]
    except ModuleNotFoundError as error:
        raise ValueError(
            f"logger: {error.name or error} is not installed; pip install it, or leave logger= out"
        ) from error
