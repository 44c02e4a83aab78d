"""A data loader whose worker processes survive the signals of a command, and readable messages for their errors."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from zoo.data import worker_signals
from zoo.data.splits import AugmentedExamples, Examples

Batch = tuple[Tensor, Tensor]

FULL = (
    "there is no room left in /dev/shm, the memory through which worker processes pass images: set dataset.workers=0 "
    "or a smaller batch_size=, or enlarge /dev/shm (docker run --shm-size=2g)"
)
NOT_STARTED = "worker processes could not be started"
# Parts of torch's messages if that memory is full: when a worker allocates it, or later, when it first writes to it.
FULL_SIGNS = re.compile(r"shared memory|\bshm\b|Bus error|No space left on device|<?/?torch_\d+", re.IGNORECASE)


class Loader(DataLoader[Batch]):
    """A DataLoader that reads examples in whole batches, already collated, instead of one by one.

    Args:
        examples: the examples; their method ``batch`` gives a collated batch.
        workers: number of worker processes; they keep running between epochs.
        options: arguments of a DataLoader.
    """

    def __init__(self, examples: Examples | AugmentedExamples, *, workers: int, **options: Any):
        init: Callable[[int], None] = worker_signals.ignore if worker_signals.ignored else worker_signals.accept
        super().__init__(
            cast(Any, _Batches(examples)),
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=init,
            collate_fn=_already_collated,
            **options,
        )

    def __iter__(self) -> Any:
        if not self.num_workers:
            return super().__iter__()
        # The workers are started here. A signal must not reach them before they have set how to handle it.
        try:
            with worker_signals.blocked():
                return super().__iter__()
        except OSError as error:
            raise OSError(f"{NOT_STARTED} ({error}): set dataset.workers=0") from error


class _Batches:
    """Examples as a DataLoader reads them: `__getitems__` gives a collated batch."""

    def __init__(self, examples: Examples | AugmentedExamples):
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, indices: Any) -> Batch:
        return self.examples.batch(indices)


def _already_collated(batch: Any) -> Any:
    """The batch itself, which `_Batches` has collated; in a worker moved to shared memory."""
    if get_worker_info() is None:
        return batch
    # Torch would do so later, in a thread whose errors are lost, so that the main process would wait forever.
    return tuple(values.share_memory_() for values in batch)


@contextmanager
def told_errors() -> Iterator[None]:
    """Within the block, errors of worker processes are raised again with a readable message of one line.

    Raises:
        ValueError, OSError: what the worker raised, such as a damaged image, without its traceback.
        OSError: the worker was killed, or there is no shared memory left.
    """
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        # The worker's error may have caused another one, such as in Lightning's clean-up: search the whole chain.
        found: BaseException | None = error
        while found is not None:
            text = _message(found)
            if text is not None:
                raise (ValueError if isinstance(found, ValueError) else OSError)(text) from error
            found = found.__cause__ or found.__context__
        raise


def _message(error: BaseException) -> str | None:
    """The message for an error of a worker; None for any other error."""
    text = str(error)
    if text.startswith(NOT_STARTED):
        return text
    if "DataLoader worker" not in text:
        return None

    # The message of an exception is the last part of its traceback, after the name of its type.
    raised = "Original Traceback" in text
    if raised:
        text = text.strip().rpartition("\n")[2]
        text = re.sub(r"^[\w.]+: ", "", text)
    if isinstance(error, RuntimeError) and FULL_SIGNS.search(text):
        return FULL
    if raised:
        # An unexpected exception keeps its traceback.
        return None if isinstance(error, RuntimeError) else text
    return (
        f"a worker process that reads images has ended unexpectedly ({' '.join(text.split())}); if the memory was "
        "full, set dataset.workers=0 or a smaller batch_size="
    )
