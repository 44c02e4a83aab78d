"""``zoo demo``: a page on loopback on which one draws, and sees what the nets make of it."""

import webbrowser
from functools import partial

import torch
from omegaconf import DictConfig

from zoo.checkpoints.checkpoint import CheckpointInfo, info, locate, open_checkpoint
from zoo.cli.checkpoint_task import output_probabilities, task_class
from zoo.cli.predict_checks import preprocess_for
from zoo.config import hardware
from zoo.config.catalogue import list_checkpoints
from zoo.config.console import say
from zoo.demo import answers
from zoo.demo.exhibits import Collection, Exhibit
from zoo.training.signals import Stopped

CTRL_C = 130  # status of a process that Ctrl-C has stopped
MAX_PORT = 65535
TASKS = "zoo.tasks."
WITHOUT_TARGETS = ("ContrastiveDivergence", "Reconstruction", "WakeSleep")  # the tasks whose ``targets`` are "none"


def demo(cfg: DictConfig) -> None:
    """Serve the page until Ctrl-C, which is its regular end.

    Raises:
        FileNotFoundError, ValueError: an invalid value, no such checkpoint, or one that does not take images.
        OSError: the port cannot be used.
    """
    # Refuse invalid values, and open the checkpoint that is shown first.
    if not 0 <= cfg.port <= MAX_PORT:
        raise ValueError(f"port={cfg.port} must be in [0, {MAX_PORT}]; 0 chooses a free one")
    try:
        from zoo.demo.app import make_app
        from zoo.demo.server import serving
    except ModuleNotFoundError as error:
        raise ValueError(f"zoo demo needs {error.name}: pip install 'reference-zoo[demo]'") from error
    device = hardware.device(hardware.trainer_kwargs(cfg.accelerator))
    shown = {name: info(name) for name in _names(cfg.checkpoint)}
    collection = Collection(shown, partial(_exhibit, device=device))
    with collection.use(cfg.checkpoint):
        pass

    # The server answers in other threads; this one waits.
    try:
        with serving(make_app(collection), cfg.port) as server:
            say(f"zoo demo: {server.address} (Ctrl-C ends it)")
            if cfg.open_browser:
                webbrowser.open(server.address)
            server.wait()
    except (KeyboardInterrupt, Stopped) as stop:
        if isinstance(stop, Stopped) and stop.status != CTRL_C:
            raise
    say("zoo demo: closed")


def _names(first: str) -> list[str]:
    """The checkpoints of the page: the given one, then the other shipped ones whose files are here."""
    names = [first]
    for name in list_checkpoints():
        try:
            locate(name)
        except FileNotFoundError:
            continue
        names += [name] if name != first else []
    return names


def _exhibit(checkpoint: str, device: torch.device) -> Exhibit:
    """Open a checkpoint.

    Raises:
        FileNotFoundError, ValueError: as `open_checkpoint`, or its net does not take images.
    """
    net, about = open_checkpoint(checkpoint)
    shape = about.transforms().shape
    if len(shape) != 3:
        raise ValueError(f"{checkpoint}: the page shows nets of images; {about.name} takes {shape[0]:,} features")
    exhibit = Exhibit(
        net.to(device),
        about,
        preprocess_for(about.transforms(), files=True, scale=None, invert=False),
        output_probabilities(about),
        _models_inputs(about),
        device,
    )
    # The first pass takes longer than later ones. One here also finds out whether the net works.
    answers.answer(exhibit, torch.zeros(shape, dtype=torch.uint8))
    return exhibit


def _models_inputs(about: CheckpointInfo) -> bool:
    """Whether a checkpoint was trained last without targets; False if it names no task."""
    target = str(about.task.get("_target_", ""))
    # The zoo's own tasks are known by name: to import them takes seconds, since they import Lightning.
    if not target or target.startswith(TASKS):
        return target.removeprefix(TASKS) in WITHOUT_TARGETS
    return task_class(about).targets == "none"


if __name__ == "__main__":
    from zoo.cli.main import main

    main("demo")
