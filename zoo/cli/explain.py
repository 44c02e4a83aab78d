"""``zoo explain``: where in each picture a net saw the class it predicts (or another), by Grad-CAM, as one PNG.

Each picture stands beside itself in grey under the map: red where most speaks for the class, blue where nothing does.
"""

from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor

from zoo.analysis.gradcam import gradcam
from zoo.checkpoints.checkpoint import open_checkpoint
from zoo.checkpoints.files import refuse_existing, replacing
from zoo.cli import predict_inputs as inputs
from zoo.config import hardware
from zoo.config.catalogue import suggest
from zoo.losses import probabilities
from zoo.plots import images as pictures

MOST = 240  # pictures on a sheet
BATCH = 16  # gradients of all maps are held for so many


def explain(cfg: DictConfig) -> Tensor:
    """Returns the maps, n x H x W, within 0 to 1.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint, class or input, a net without classes or without
            convolutional maps, or a picture that it cannot take.
        FileExistsError: the output is there already.
    """
    refuse_existing(cfg.output, overwrite=cfg.overwrite)
    source, output = Path(cfg.input), Path(cfg.output)
    if not 1 <= cfg.n <= MOST:
        raise ValueError(f"n={cfg.n}: between 1 and {MOST} is needed")
    if output.suffix.lower() != ".png":
        raise ValueError(f"output={output}: a .png is needed")
    device = hardware.device(hardware.trainer_kwargs(cfg.accelerator))
    net, about = open_checkpoint(cfg.checkpoint)
    if not about.classes:
        raise ValueError(f"{cfg.checkpoint}: {about.name} has no classes to explain")
    if cfg.target is not None and cfg.target not in about.classes:
        raise ValueError(f"target={cfg.target}: no such class; {suggest(cfg.target, about.classes)}")
    files = inputs.find(source)
    if not files:
        raise ValueError(f"input={source}: pictures are needed, one or a folder of them")
    if output.resolve() in {path.resolve() for path in files}:
        raise ValueError(f"{output} is part of the input and would be replaced; name another output=")
    read, loss = inputs.reader(about, resize=cfg.resize), about.task.get("loss", "cross_entropy")
    preprocess, net = about.transforms(), net.to(device)
    tiles, captions, maps = [], [], []
    for names, raw in inputs.pictures(files[: cfg.n], source, read, batch_size=BATCH):
        x = preprocess(raw.to(device))
        wanted = None if cfg.target is None else torch.full((len(x),), about.classes.index(cfg.target))
        heat, numbers = gradcam(net, x, wanted)
        with torch.inference_mode():
            chances = probabilities(net(x).float(), loss)  # N x classes
        for i, (name, k, best) in enumerate(zip(names, numbers.tolist(), chances.argmax(dim=1).tolist(), strict=True)):
            other = [] if k == best else [f"predicted {about.classes[best]} {chances[i, best]:.3f}"]
            captions.append([name, f"{about.classes[k]} {chances[i, k]:.3f}", *other])
            tiles.append(pictures.overlay(raw[i] / 255, heat[i].cpu()))
        maps.append(heat.cpu())
    with replacing(output) as temporary:
        title = f"{about.name}: where it sees {cfg.target or 'the class it predicts'}"
        pictures.sheet(tiles, captions, temporary, title=title, columns=3, width=3.5)
    Console().print(f"{len(tiles):,} explained in {output}", soft_wrap=True, highlight=False, markup=False)
    return torch.cat(maps)


if __name__ == "__main__":
    from zoo.cli.main import main

    main("explain")
