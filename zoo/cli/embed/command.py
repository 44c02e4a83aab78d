"""``zoo embed``: write the features of images, a table, an archive or a dataset to a file, batch by batch.

`zoo.cli.embed.inputs` reads the batches, `zoo.cli.embed.outputs` writes the file, and `zoo.cli.embed.neighbors` lists
nearest neighbors and near duplicates.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig
from torch import Tensor, nn

from zoo.checkpoints.checkpoint import CheckpointInfo, locate, open_checkpoint
from zoo.checkpoints.files import check_output, replacing
from zoo.cli.embed.inputs import Batch, open_source
from zoo.cli.embed.outputs import Numbers, Spool, Texts, pyarrow, write_npz, write_parquet
from zoo.config import hardware
from zoo.config.console import say, warn
from zoo.data.preprocess import Preprocess
from zoo.data.tables import pixel_columns
from zoo.protocols import Net, eval_mode, layers_of

SUFFIXES = (".npz", ".parquet")


def embed(cfg: DictConfig) -> int:
    """Write the features of every input.

    Returns:
        The number of inputs.

    Raises:
        FileNotFoundError, ValueError: an invalid value, no such checkpoint, input or dataset, an input that the net
            cannot take, or a package that is not installed.
        FileExistsError: an output exists already.
    """
    # Refuse invalid values before anything is computed.
    depths = _check(cfg)
    outputs = _outputs(cfg)
    device = hardware.device(hardware.trainer_kwargs(cfg.accelerator))
    net, about = open_checkpoint(cfg.checkpoint)
    columns = _feature_columns(net, about, depths)
    source = open_source(cfg, about)
    for path in outputs.values():
        check_output(path, overwrite=cfg.overwrite, inputs=[*source.files, locate(cfg.checkpoint)[0]])

    # Compute the features batch by batch. All files appear once they are complete.
    features = _Features(net, columns, source.preprocess, device)
    with ExitStack() as stack:
        temporary = {kind: stack.enter_context(replacing(path)) for kind, path in outputs.items()}
        spool = Spool(temporary["features"])
        stack.callback(spool.remove)
        with torch.inference_mode(), eval_mode(net):
            for batch in source.batches:
                if source.check is not None:
                    source.check.add(batch.raw)
                spool.add({**batch.columns, **features(batch)})
        notes = [*source.notes, *(source.check.finish() if source.check is not None else [])]
        write = write_parquet if outputs["features"].suffix.lower() == ".parquet" else write_npz
        write(spool, temporary["features"])
        counts = _compare(cfg, spool, temporary, next(iter(columns)), notes)

    # Report what was written and what was skipped.
    for error in source.skipped:
        warn(f"skipped: {error}")
    _report(spool, outputs, counts, skipped=len(source.skipped), notes=notes)
    return spool.count


def _check(cfg: DictConfig) -> list[int] | None:
    """Check the values of single keys; the depths, or None for the features below the head.

    Raises:
        ValueError: a value out of its range, or several depths with neighbors or duplicates.
    """
    if str(cfg.header).lower() not in pixel_columns.HEADERS:
        raise ValueError(f"header={cfg.header} must be auto, true or false")
    if cfg.on_bad_image not in ("refuse", "skip"):
        raise ValueError(f"on_bad_image={cfg.on_bad_image} must be refuse or skip")
    if cfg.batch_size < 1:
        raise ValueError(f"batch_size={cfg.batch_size} must be >= 1")
    if cfg.neighbors is not None and cfg.neighbors < 1:
        raise ValueError(f"neighbors={cfg.neighbors} must be >= 1, or null for none")
    if not 0 < cfg.threshold <= 1:
        raise ValueError(f"threshold={cfg.threshold} must be in (0, 1]")

    # One depth or a list.
    depths: list[Any] | None = None
    if cfg.depth is not None:
        depths = list(cfg.depth) if isinstance(cfg.depth, ListConfig) else [cfg.depth]
        if not depths or not all(isinstance(depth, int) and not isinstance(depth, bool) for depth in depths):
            raise ValueError(f"depth={cfg.depth} must be an integer, a list of integers, or null")
    if depths is not None and len(depths) > 1 and (cfg.neighbors or cfg.duplicates):
        raise ValueError(f"depth={cfg.depth}: neighbors= and duplicates= compare one layer; give one depth")
    return depths


def _outputs(cfg: DictConfig) -> dict[str, Path]:
    """The files to write: features, neighbors, duplicates.

    Raises:
        ValueError: an unknown suffix, or a package that is not installed.
        FileExistsError: a file exists already.
    """
    output = Path(cfg.output)
    check_output(output, overwrite=cfg.overwrite, suffixes=SUFFIXES)
    if output.suffix.lower() == ".parquet":
        pyarrow(output)
    outputs = {"features": output}
    if cfg.neighbors:
        outputs["neighbors"] = output.with_name(f"{output.stem}-neighbors.csv")
    if cfg.duplicates:
        outputs["duplicates"] = output.with_name(f"{output.stem}-duplicates.csv")
    for path in outputs.values():
        check_output(path, overwrite=cfg.overwrite)
    return outputs


def _feature_columns(net: nn.Module, about: CheckpointInfo, depths: Sequence[int] | None) -> dict[str, int | None]:
    """The name of each column of features, and its depth. Depths are counted from the input in the names.

    Raises:
        ValueError: the net has fewer layers, or no features.
    """
    if not isinstance(net, Net):
        missing = ", ".join(name for name in ("in_shape", "num_classes", "encode") if name not in dir(net))
        raise ValueError(
            f"{about.net['_target_']} has no {missing}, so zoo embed cannot compute features; add what is "
            "missing, as in the class Net of zoo/protocols/nets.py"
        )
    # Try the depths on one input.
    with torch.inference_mode():
        _encode(net, torch.zeros(1, *about.transforms().shape), depths or [])
    if depths is None or len(depths) == 1:
        return {"features": None if depths is None else depths[0]}
    top = len(layers_of(net))
    return {f"features_{depth if depth >= 0 else top + 1 + depth}": depth for depth in depths}


class _Features:
    """Computes the columns of features of raw batches.

    Args:
        net: the net, which is moved to ``device``.
        columns: name of a column -> depth.
        preprocess: the preprocessing of raw inputs.
        device: where to compute.
    """

    def __init__(self, net: nn.Module, columns: dict[str, int | None], preprocess: Preprocess, device: torch.device):
        # Convolutions are fastest in the channels-last memory format.
        assert isinstance(net, Net)
        self.net: Net = net.to(device).to(memory_format=torch.channels_last)
        self.columns = columns
        self.preprocess = preprocess
        self.device = device

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """The features of a batch by column, each N x D on the CPU; ValueError if one is NaN or Inf."""
        x = self.preprocess(batch.raw.to(self.device))
        outputs = _encode(self.net, x, [depth for depth in self.columns.values() if depth is not None])
        found = {name: h.flatten(1).float().cpu() for name, h in zip(self.columns, outputs, strict=True)}
        for h in found.values():
            if not h.isfinite().all():
                first = batch.columns["name"][int((~h.isfinite()).any(1).nonzero()[0])]
                raise ValueError(f"the features of {first} are NaN or Inf; check the input, or use another checkpoint")
        return found


def _encode(net: Net, x: Tensor, depths: Sequence[int]) -> list[Tensor]:
    """The outputs of the layers from one pass; without depths the features below the head."""
    # A net of the user might not accept a list, so pass a list only for several depths.
    if len(depths) < 2:
        return [net.encode(x, *depths)]
    return net.encode(x, depths)


def _compare(
    cfg: DictConfig, spool: Spool, temporary: dict[str, Path], column: str, notes: list[str]
) -> dict[str, int]:
    """Write neighbors and duplicates, if they are asked for.

    Args:
        cfg: the config.
        spool: the features.
        temporary: the files to write, by kind.
        column: the column of features to compare.
        notes: a note about the number of neighbors is appended.

    Returns:
        The number of neighbors of each input, and the number of duplicates, by kind.
    """
    if not (cfg.neighbors or cfg.duplicates):
        return {}
    # Only here must all features, names and labels be in memory.
    from zoo.cli.embed import neighbors

    features, names, labels = spool.columns[column], spool.columns["name"], spool.columns.get("label")
    assert isinstance(features, Numbers)
    assert isinstance(names, Texts)
    x = features.whole(spool.count)
    all_names = names.whole()
    all_labels = labels.whole() if isinstance(labels, Texts) else []

    # An input has no more neighbors than there are other inputs.
    counts = {}
    if cfg.neighbors:
        count = min(cfg.neighbors, spool.count - 1)
        if count < cfg.neighbors:
            others = "1 other, so 1 is" if count == 1 else f"{count} others, so {count} are"
            notes.append(f"neighbors={cfg.neighbors}: each input has {others} listed")
        found = neighbors.nearest_neighbors(x, count) if count else iter(())
        neighbors.write_neighbors(temporary["neighbors"], found, all_names, all_labels)
        counts["neighbors"] = count
    if cfg.duplicates:
        pairs = neighbors.near_duplicates(x, cfg.threshold)
        counts["duplicates"] = neighbors.write_duplicates(temporary["duplicates"], pairs, all_names, all_labels)
    return counts


def _report(
    spool: Spool, outputs: dict[str, Path], counts: dict[str, int], *, skipped: int, notes: Sequence[str]
) -> None:
    """Print what was written."""
    # One line, with the parts that apply.
    columns = [
        f"{name} (N x {column.width})" if isinstance(column, Numbers) else name
        for name, column in spool.columns.items()
    ]
    parts = [f"{spool.count:,} input{'' if spool.count == 1 else 's'} in {outputs['features']}: {', '.join(columns)}"]
    if "neighbors" in counts:
        count = counts["neighbors"]
        parts.append(f"{count} nearest neighbor{'' if count == 1 else 's'} of each in {outputs['neighbors']}")
    if "duplicates" in counts:
        count = counts["duplicates"]
        parts.append(f"{count:,} near duplicate{'' if count == 1 else 's'} in {outputs['duplicates']}")
    if skipped:
        parts.append(f"{skipped:,} skipped")
    say("; ".join(parts))
    for note in notes:
        say(f"note: {note}")
