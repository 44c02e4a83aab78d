"""``zoo train``: a run trains the stages of a model one after another; each stage is one or several fits.

A run starts from a checked `Plan` or is resumed from its folder. Each fit has a new Trainer. The folder contains
``metrics.csv`` (every logged step), ``checkpoints/last.ckpt`` (to resume from) and the files of `zoo.training.outputs`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, seed_everything
from omegaconf import DictConfig

from zoo.checkpoints import files
from zoo.config import compose
from zoo.config.build import build
from zoo.data.datamodule import DataModule
from zoo.data.splits import seed_from
from zoo.tasks.task import Task
from zoo.training import outputs, pseudo_labels, signals, stages, summary
from zoo.training.checks import run_checks
from zoo.training.fit import head_fit, trainer_options
from zoo.training.fit.callbacks import OutOfTime
from zoo.training.fit.csv_logger import CSVLogger
from zoo.training.fit.fit_data import fit_data
from zoo.training.fit.trainer import Fit, Session, measure
from zoo.training.plan import Given, Plan, StagePlan
from zoo.training.resume import last_checkpoint, run_folder
from zoo.training.resume.lock import locked
from zoo.training.session import session_of
from zoo.training.signals import StopRequest
from zoo.training.sweeps.sweep_job import Job


def train(cfg: DictConfig) -> float | None:
    """Train as a config says. A job of a sweep that was stopped earlier is continued from its folder.

    Returns:
        The value of ``optimized_metric`` (by default, of the metric that the last stage monitors); None if the data
        have no validation split and no metric was asked for.

    Raises:
        ValueError, FileNotFoundError: an invalid config, dataset or combination; nothing was written. With
            ``resume``, a damaged or missing file of the run.
            Also if the loss, a gradient or a weight became NaN or Inf during training.
        FileExistsError: the folder already contains a run.
        Stopped: a signal asked the run to stop; it can be resumed.
    """
    job = Job.begin(cfg)
    if job.is_done:
        return job.value

    # Signals raise `Stopped`, except within the blocks in which they are held.
    folder = compose.run_folder() if cfg.resume is None else Path(cfg.resume)
    with job.pruning(), signals.stop_on_signals() as stop, locked(folder):
        stop.message = "stopped before training began; nothing was written"
        if cfg.resume is None:
            outputs.refuse_run(folder)
            plan = run_checks.plan(cfg)
            with stop.held():
                run = Run.begin(plan, folder, compose.command_line("train"), compose.composition())
                stop.message = f"stopped before training began; {run.how_to_continue()}"
        else:
            # Do not train a finished run again.
            run_folder.check_files(folder)
            if outputs.is_finished(folder):
                outputs.announce([f"{folder}: this run is finished; there is nothing to resume"])
                return job.finish(run_folder.read_metrics(folder))
            run = Run.resume(folder)
            stop.message = f"stopped before training began; {run.how_to_continue()}"
        outputs.announce([*summary.lines(run.plan), *run.plan.notes])

        # Train the remaining fits, until the end or until a signal or trainer.max_time asks to stop.
        run = replace(run, watch=job.watch)
        with run.fitting() as unfinished:
            for fit in run.remaining_fits():
                with run.guarded(fit, stop):
                    fit.train(stop)
        metrics = run.finish(finished=not unfinished)
        with stop.held(stop_after=False):
            outputs.print_metrics(run.plan, metrics, folder)
            outputs.announce(unfinished)
            job.finish(metrics)
    return job.value


@dataclass(frozen=True)
class Run:
    """A checked plan and the folder of its results.

    Attributes:
        plan: the checked plan.
        folder: the run folder.
        command: the command line that started the run.
        logger: the logger that writes ``metrics.csv``.
        session: the settings that all fits share.
        checkpoint: the content of ``last.ckpt`` in a resumed run; None in a new run, or if nothing was saved yet.
        keep: whether the files of the folder are kept; if not, only those that training itself needs are written.
        watch: callbacks that watch the last stage.
    """

    plan: Plan
    folder: Path
    command: str
    logger: CSVLogger
    session: Session
    checkpoint: dict[str, Any] | None = None
    keep: bool = True
    watch: Sequence[Callback] = ()

    @classmethod
    def begin(
        cls,
        plan: Plan,
        folder: Path,
        command: str,
        composition: Mapping[str, str] | None = None,
        *,
        keep: bool = True,
    ) -> "Run":
        """A new run.

        Args:
            plan, folder, command, keep: as the attributes.
            composition: the files of the subfolder ``.hydra``, by name.

        Raises:
            FileExistsError: the folder already contains a run.
            ValueError: the package of the logger is not installed, or the checkpoint could not be written at the end.
        """
        outputs.check_description(plan, command)
        run = cls._in_folder(plan, folder, command, keep=keep)
        if keep:
            outputs.begin(plan, folder, command, composition)
        return run

    @classmethod
    def resume(cls, folder: Path, given: Given | None = None) -> "Run":
        """Resume a stopped run from its own config: all other keys of the new command line are ignored.

        Args:
            folder: the run folder.
            given: the net or data with which the run was started, if it was started from Python.

        Raises:
            FileNotFoundError: the folder is not a run folder.
            ValueError: one of its files is damaged, or the data have changed; the message begins with the file.
        """
        # Without last.ckpt, the run was stopped before anything was saved, so it starts from the beginning.
        cfg, command = run_folder.read_config(folder)
        checkpoint = last_checkpoint.read(folder)
        run_folder.check_rows(folder)
        preprocess = run_folder.read_preprocess(folder)
        if preprocess is None and checkpoint is not None:
            raise ValueError(
                f"{folder / run_folder.PREPROCESS} is missing; without it the run cannot be resumed, start a new one"
            )

        # Check the plan again, since files may have changed. Use the preprocessing of the first start, if it is known.
        with run_folder.naming(folder / run_folder.CONFIG):
            plan = run_checks.plan(cfg, preprocess=preprocess, given=given)
        if plan.preprocess.shape != plan.splits.shape:
            raise ValueError(
                f"{folder / run_folder.PREPROCESS}: shape={list(plan.preprocess.shape)} is not that of the data"
            )
        run_folder.check_splits(folder, plan.splits)
        plan = replace(plan, logger=run_folder.own_logger(plan.logger, folder))
        outputs.check_description(plan, command)

        # Nothing was refused, so the folder may be written to.
        files.remove_unfinished(folder)
        if checkpoint is None:
            outputs.write_data(plan, folder)
        return cls._in_folder(plan, folder, command, checkpoint)

    @classmethod
    def _in_folder(
        cls, plan: Plan, folder: Path, command: str, checkpoint: dict[str, Any] | None = None, *, keep: bool = True
    ) -> "Run":
        logger, session = session_of(plan, folder)
        return cls(plan, folder, command, logger, session, checkpoint, keep)

    @contextmanager
    def fitting(self) -> Iterator[list[str]]:
        """The context in which the remaining fits are trained.

        It yields a list. After trainer.max_time the list has a line: where the run stopped and how to continue it.
        """
        unfinished: list[str] = []
        with trainer_options.flags(self.plan.settings):
            try:
                yield unfinished
            except OutOfTime as reason:
                unfinished.append(f"{reason}; {self.how_to_continue()}")

    @contextmanager
    def guarded(self, fit: Fit, stop: StopRequest) -> Iterator[None]:
        """The context of one fit: a signal stops it only after it has saved. Resuming repeats the work after it."""
        with stop.held(), last_checkpoint.restoring(fit.resume):
            yield
            stop.message = f"stopped after {fit.name}; {self.how_to_continue()}"

    def remaining_fits(self) -> Iterator[Fit]:
        """The fits that are left to train. Each one is built after the previous one was trained.

        Raises:
            ValueError: ``last.ckpt`` belongs to a fit that the plan does not contain.
        """
        checkpoint = self.checkpoint
        for stage in self.plan.stages:
            was_trained = False
            for name, task in stages.fits(stage, self.plan.net):
                # Skip the fits before that of the checkpoint. They are finished; the checkpoint has their weights.
                if checkpoint is not None and name != checkpoint["fit"]:
                    continue
                yield self._fit(name, task, stage, checkpoint)
                checkpoint = None
                was_trained = True
            # Plot what a stage without labels has trained.
            if was_trained and self.keep and not stage.needs_labels:
                with signals.held():
                    outputs.draw_stage(self.plan, stage, self.folder)
        if checkpoint is not None:
            raise ValueError(
                f"{self.folder / run_folder.LAST}: it belongs to fit {checkpoint['fit']!r}, which config.yaml does not "
                "define"
            )

    def how_to_continue(self) -> str:
        """What a user of a stopped run reads: the command that continues it."""
        if (self.session.folder / "last.ckpt").is_file():
            return f"continue with resume={self.folder}"
        return f"nothing was saved yet: resume={self.folder} starts from the beginning"

    def _fit(self, name: str, task: Task, stage: StagePlan, checkpoint: dict[str, Any] | None) -> Fit:
        """One fit, resumed from ``checkpoint`` if that is not None."""
        # The Trainer loads the checkpoint later, but cached features of lower layers need the weights now.
        if checkpoint is not None:
            state = checkpoint["state_dict"]
            net_state = {key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")}
            last_checkpoint.check_weights(self.folder, net_state, self.plan.net)
            self.plan.net.load_state_dict(net_state)

        # Derive the seed of a fit from the run's seed and the fit's name, so that it does not depend on earlier fits.
        seed = seed_from(self.plan.seed, name)
        seed_everything(seed % 2**32, verbose=False)
        self.logger.start(name, step=checkpoint["global_step"] if checkpoint else 0)
        progress = name if self.plan.progress else None
        if stage.pseudo_labels is not None:
            path = self.session.folder / f"{name}{pseudo_labels.SUFFIX}"
            stage = pseudo_labels.given(stage, self.plan, path, resumed=bool(checkpoint), progress=progress)
        if stage.fit_head and checkpoint is None:
            head_fit.fit_head(task, stage, self.plan, progress=progress)
        return Fit(
            name=name,
            task=task,
            data=fit_data(self.plan, name, task, stage, seed=seed),
            stage=stage,
            session=self.session,
            resume=self.session.folder / "last.ckpt" if checkpoint else None,
            watch=self.watch if stage.name == self.plan.stages[-1].name and stage.order == "joint" else (),
        )

    def finish(self, *, finished: bool = True) -> dict[str, float]:
        """Evaluate the trained net, write the results, and return the metrics; see `outputs.finish`."""
        # Build the task of the last stage for the whole net, even if that stage trained layer by layer.
        plan = self.plan
        task = build(plan.stages[-1].task, plan.net)
        data = DataModule(plan.splits, preprocess=plan.preprocess, workers=plan.workers)
        # Weights are stored in full precision, so evaluate them in full precision, as `zoo evaluate` does.
        trainer_kwargs = dict(plan.trainer_kwargs)
        if trainer_kwargs["precision"].endswith("mixed"):
            trainer_kwargs["precision"] = "32-true"
        with trainer_options.flags(plan.settings):
            metrics = measure(task, data, trainer_kwargs=trainer_kwargs, settings=plan.settings)

        # With stop_below, the number of training steps is a metric, too.
        for stage in plan.stages:
            if stage.stop_below is not None:
                metrics |= {f"{fit}/steps": steps for fit, steps in self.logger.steps(stage.name).items()}

        if not self.keep:
            return metrics
        # Write everything, the metrics last. Ignore signals: this takes seconds, and then the run is finished.
        about = outputs.description(plan, self.command, metrics)
        with signals.held(stop_after=False):
            outputs.finish(plan, self.folder, about, task, self.logger, finished=finished)
            for path in self.session.folder.glob("best.*.ckpt") if finished else ():
                path.unlink(missing_ok=True)
        return metrics
