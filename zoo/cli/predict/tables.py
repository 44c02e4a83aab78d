"""Read tables for ``zoo predict``: encode their columns as in training, and name the columns of the output."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.cli.predict import outputs
from zoo.cli.predict.inputs import Batches
from zoo.data.preprocess import Preprocess
from zoo.data.tables import table_file
from zoo.data.tables.table_columns import TableEncoding, some

FAR = 10.0  # standard deviations from the mean of the training data
MANY = 0.05  # fraction of the rows


def encoding_for(about: CheckpointInfo, source: Path) -> TableEncoding | None:
    """The encoding of the columns of ``input=``; None if the checkpoint or the input is not a table."""
    if not about.table or not table_file.is_table(source):
        return None
    return TableEncoding.from_dict(about.table)


def read(
    source: Path,
    encoding: TableEncoding,
    preprocess: Preprocess,
    *,
    header: str,
    batch_size: int,
    note: Callable[[str], None],
) -> Batches:
    """Batches of encoded rows; their names are row numbers from 1.

    Args:
        source: a CSV or Parquet file. The order of its columns does not matter.
        encoding: that of the checkpoint.
        preprocess: the preprocessing of the checkpoint.
        header: whether a CSV has a header: auto, true or false.
        batch_size: number of rows in a batch.
        note: called with a line of text about each guess, ignored columns and replaced values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a table, or it lacks columns or values that the net needs.
    """
    table = table_file.read(source, header=header, key="input")
    for text in table.notes:
        note(text)
    used = {feature.name for feature in encoding.features}
    extra = [name for name in table.columns if name not in used]
    if extra:
        note(f"columns that the net does not use: {some(extra)}")
    x, texts = encoding.encode(table)
    for text in [*texts, *far_columns(x, encoding, preprocess)]:
        note(text)

    # Rows are named by their numbers.
    first = 1
    for chunk in torch.split(x, batch_size):
        yield [str(first + k) for k in range(len(chunk))], chunk
        first += len(chunk)


def far_columns(x: Tensor, encoding: TableEncoding, preprocess: Preprocess) -> list[str]:
    """One note for each column of numbers with many values far from the training data, as in another unit.

    Empty if the inputs are not standardized, since then their std is not known.
    """
    if len(preprocess.std) != encoding.width:
        return []
    z = ((x - torch.tensor(preprocess.mean)) / torch.tensor(preprocess.std)).abs()
    share = (z > FAR).float().mean(dim=0).tolist()
    notes, first = [], 0
    for feature in encoding.features:
        if feature.categories is None and share[first] > MANY:
            notes.append(
                f"column {feature.name}: {share[first]:.0%} of the values are more than {FAR:g} standard deviations "
                "from the mean of the training data; is it in another unit?"
            )
        first += feature.width
    return notes


def original_values(compute: Callable[[Tensor], Tensor], encoding: TableEncoding) -> Callable[[Tensor], Tensor]:
    """The function ``compute``, whose standardized target values are converted back."""
    if not encoding.mean:
        return compute
    mean = torch.tensor(encoding.mean)
    std = torch.tensor(encoding.std)
    return lambda raw: compute(raw) * std + mean


@dataclass(frozen=True)
class NamedValues:
    """The rows of ``columns``, whose values are named after the target columns of the training table."""

    columns: outputs.Columns
    names: Sequence[str]

    def header(self, width: int) -> list[str]:
        first, *values = self.columns.header(width)
        return [first, *(self.names if len(self.names) == width else values)]

    def rows(self, names: Sequence[str], outputs: Tensor, labels: Sequence[str]) -> Iterator[list[Any]]:
        return self.columns.rows(names, outputs, labels)
