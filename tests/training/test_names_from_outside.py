"""Names from outside, whatever letters they have, do not stop a run or control the terminal."""

import pytest
from support import write_noise

from zoo.checkpoints import checkpoint as checkpoints

CLASSES = [r"$\frac$", "$x_{$", "[x]", "日本", "a\x1b[2J\nb", "x" * 200]


@pytest.fixture
def photos(folder):
    for k, name in enumerate(CLASSES):
        for i in range(12):
            write_noise(folder / "photos" / name / f"{i}.png", seed=100 * k + i, size=(8, 8), color=False)
    return folder / "photos"


def test_a_run_with_names_of_any_letters_ends_well(cli, folder, photos, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    words = ["model=logistic", "epochs=1", "progress=false", "dataset=image_folder", "dataset.root=photos"]
    words += ["dataset.shape=[1,8,8]", "dataset.workers=0", "hydra.run.dir='exp[/x]'"]
    outcome = cli("train", *words, "dataset.name='[/x]'", "model.name='[/b]'")
    assert (outcome.status, outcome.err) == (0, "")
    assert "[/b] on [/x]: " in outcome.out
    assert "run folder: exp[/x]" in outcome.out
    assert "\x1b" not in outcome.out
    for name in ("curves.png", "confusion.png", "metrics.json"):
        assert (folder / "exp[/x]" / name).is_file()
    assert set(checkpoints.info(folder / "exp[/x]").classes) == set(CLASSES), "they are stored as they are"
    shown = cli("show", "exp[/x]")
    assert (shown.status, shown.err) == (0, "")
    assert "\x1b" not in shown.out
