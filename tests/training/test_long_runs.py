"""Long runs are flat: neither epochs nor batches of predictions leave memory behind."""

import gc
import os
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from zoo.cli.main import main
from zoo.models import LeNet5
from zoo.training.fit.callbacks import SaveForResume

pytestmark = pytest.mark.slow
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")


@needs_proc
def test_fifty_epochs_of_the_default_run_grow_by_less_than_two_percent(tmp_path, monkeypatch):
    seen, original = [], SaveForResume.on_train_epoch_end

    def look(self, trainer, module):
        original(self, trainer, module)
        if (trainer.current_epoch + 1) % 10 == 0:
            seen.append(resident())

    monkeypatch.setattr(SaveForResume, "on_train_epoch_end", look)
    main("train", ["epochs=50", "progress=false", f"hydra.run.dir={tmp_path / 'run'}"])
    assert len(seen) == 5
    assert max(seen) < 1.02 * seen[0]


@needs_proc
def test_two_hundred_batches_of_predictions_grow_by_less_than_two_percent(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (200 * 64, 1, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "many.npz", x=pixels)
    words = ["checkpoint=lenet5-digits", f"input={tmp_path / 'many.npz'}", "batch_size=64", "overwrite=true"]
    seen, calls, original = [], count(1), LeNet5.forward

    def look(self, x):
        if next(calls) % 20 == 0:
            seen.append(resident())
        return original(self, x)

    monkeypatch.setattr(LeNet5, "forward", look)
    main("predict", [*words, f"output={tmp_path / 'predictions.csv'}"])
    assert len(seen) == 10
    assert max(seen) < 1.02 * seen[0]
