"""A ``last.ckpt`` that is damaged, or that somebody made, is refused in one line, and the run folder stays as it is."""

import shutil

import pytest
import torch
from omegaconf import OmegaConf
from support import no_plots

from zoo.cli.main import main
from zoo.training.resume.last_checkpoint import check_optimizers


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of a run with one of two epochs behind it."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    with pytest.MonkeyPatch.context() as patch:
        no_plots(patch)
        words = ["model=mlp", "model.net.hidden=[3]", "dataset=digits", "epochs=1", "progress=false"]
        main("train", [*words, f"hydra.run.dir={folder}"])
    (folder / "metrics.json").unlink()
    config = OmegaConf.load(folder / "config.yaml")
    config.epochs = 2
    OmegaConf.save(config, folder / "config.yaml")
    return folder


def state_of(content):
    """The state of the first parameter: the weights of the hidden layer, 3 x 64."""
    return content["optimizer_states"][0]["state"][0]


def group_of(content):
    return content["optimizer_states"][0]["param_groups"][0]


DAMAGES = {
    # PyTorch's kernels read beyond the end of a state that is too small.
    "small": (lambda c: state_of(c).update(exp_avg=torch.zeros(3, 3)), "exp_avg of the optimizer has shape 3x3"),
    "NaN": (lambda c: state_of(c)["exp_avg"].fill_(torch.nan), "exp_avg of an optimizer contains NaN"),
    "expanded": (lambda c: state_of(c).update(exp_avg=torch.zeros(1).expand(3, 64)), "is not a plain tensor"),
    "no moment": (lambda c: state_of(c).pop("exp_avg"), "damaged ("),
    "lr": (lambda c: group_of(c).update(lr=None), "damaged ("),
    "betas": (lambda c: group_of(c).update(betas=5), "damaged ("),
    "no groups": (lambda c: c["optimizer_states"][0].update(param_groups=[]), "damaged ("),
    "list": (lambda c: c["optimizer_states"][0].update(state=[1]), "optimizer_states has no state"),
    "generator": (lambda c: c["callbacks"]["SaveForResume"]["cpu"].zero_(), "random number generator is damaged"),
    "extra": (lambda c: c["state_dict"].update(x=torch.zeros(1)), "damaged ("),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_optimizer_is_refused(damage, begun, tmp_path, cli):
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    change, message = DAMAGES[damage]
    change(content)
    torch.save(content, run / "checkpoints" / "last.ckpt")
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in run.rglob("*") if path.is_file()}
    outcome = cli("train", f"resume={run}")
    assert outcome.status == 1
    assert outcome.err.startswith(f"zoo train: {run / 'checkpoints' / 'last.ckpt'}: ")
    assert message in outcome.err
    assert outcome.err.rstrip("\n").endswith("; delete it to start the run from the beginning")
    assert outcome.err.count("\n") == 1
    after = {path: (path.read_bytes(), path.stat().st_ino) for path in run.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("name", ["Adadelta", "Adafactor", "Adam", "Adagrad", "ASGD", "LBFGS", "NAdam", "Rprop", "SGD"])
def test_the_state_of_every_optimizer_is_accepted(name, tmp_path):
    parameters = [torch.nn.Parameter(torch.ones(3, 4)), torch.nn.Parameter(torch.ones(3))]
    optimizer = vars(torch.optim)[name](parameters, lr=0.1)

    def loss():
        optimizer.zero_grad()
        value = sum((parameter**2).sum() for parameter in parameters)
        value.backward()
        return value

    optimizer.step(loss)
    check_optimizers(tmp_path, [optimizer])
