"""Whatever a user gets wrong ends as exit status 1 and one short message that names it; nothing is half-written."""

import shlex
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.cli.commands import COMMANDS
from zoo.config.compose import compose

ONE = "train model=logistic dataset=digits epochs=1 progress=false "
OWN = "train model=logistic epochs=1 progress=false "
QUIET = "train progress=false "


class Case(NamedTuple):
    """``{run}`` in the arguments stands for a trained run's folder; the message must contain each of ``says``."""

    arguments: str
    says: tuple[str, ...]
    plant: Callable[[Path], object] = lambda folder: None


def pictures(folder: Path, *names: str, shape: tuple[int, ...] = (28, 28), count: int = 10) -> None:
    for name in names:
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full(shape, i, np.uint8)).save(folder / "photos" / name / f"{i}.png")


def truncated(folder: Path) -> None:
    pictures(folder, "a", "b")
    for path in (folder / "photos" / "a").iterdir():
        path.write_bytes(path.read_bytes()[:40])


def table(*rows: str, label: bool = True) -> Callable[[Path], object]:
    """A train.csv with good rows but for the last ones."""
    names = [*(["label"] if label else []), *(f"pixel{i}" for i in range(784))]
    good = [f"{k % 10}," + ",".join(["0"] * 784) for k in range(60)] if label else [",".join(["0"] * 784)]
    text = "\n".join([",".join(names), *good, *rows]) + "\n"
    return lambda folder: (folder / "train.csv").write_text(text)


def arrays(folder: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (200, 28, 28), dtype=np.uint8), np.arange(200) % 10
    np.savez(folder / "good.npz", x=x, y=y)
    np.savez(folder / "small.npz", x=x[:, :20], y=y)
    np.savez(folder / "vectors.npz", x=rng.random((200, 4)), y=y)
    np.savez(folder / "objects.npz", x=np.array([{}], dtype=object))


def outside(folder: Path) -> None:
    """Real values of which some are below 0 or above 1, which only the last examples show."""
    x = np.random.default_rng(0).random((1500, 6)).astype(np.float32)
    x[-200:] = 3 * x[-200:] - 1
    y = np.arange(1500) % 2
    np.savez(folder / "outside.npz", x_train=x, y_train=y, x_val=x[:20], y_val=y[:20], x_test=x[:20], y_test=y[:20])


def own_model(folder: Path, like: str, lines: str) -> None:
    """A model in a folder of the user's own: another one but for some lines."""
    (folder / "own" / "model").mkdir(parents=True)
    (folder / "own" / "model" / "own.yaml").write_text(f"defaults: [{like}, _self_]\n{lines}\n")


def text(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text("not what it should be\n")


def foreign(folder: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, folder / "foreign.pth")


CASES = {
    # the grammar of Hydra
    "several values": Case("train seed=1,2", ("seed=1,2: several values need a sweep, zoo train -m",)),
    "a range": Case("train 'seed=range(1,3)'", ("seed=range(1,3): several values need a sweep",)),
    "flag without value": Case("train --cfg", ("--cfg needs a value",)),
    "flag with another value": Case("train --cfg=foo", ("--cfg foo: choose job, hydra or all",)),
    "info of a key": Case("train --info seed=1", ("--info seed=1: choose all,",)),
    "no folder of configs": Case("train --config-dir gone", ("gone' not found",)),
    "group of another command": Case("predict dataset=digits", ("dataset: no such key or group",)),
    "group with a slash": Case("train model=/etc", ("model=etc: no such model",)),
    "no model": Case("train model=null", ("model.name= is required",)),
    "no dataset": Case("train ~dataset", ("dataset.name= is required",)),
    "empty group": Case("train logger=", ("logger=: the value is empty", "omit logger=")),
    "empty path": Case("train resume=", ("resume=: the value is empty",)),
    "empty input": Case("predict checkpoint={run} input=''", ("input=: the value is empty",)),
    "added key": Case("train +epohcs=3", ("epohcs: no such key", "did you mean epochs")),
    "added key of a stage": Case("train +model.stages.fit.epohcs=3", ("did you mean epochs",)),
    "added key of the trainer": Case("train +accelerator.nodes=3", ("accelerator.nodes: no such key",)),
    "a key in null": Case("train logger.save_dir=x", ("logger.save_dir: no such key",)),
    "a mapping for null": Case("train logger={{a:1}}", ("logger={a:1} must be the name of a file of conf/logger",)),
    "a key of the sweeper": Case(
        "train -m seed=1,2 hydra.sweeper.max_batch_size=0", ("Hydra cannot read these arguments",)
    ),
    "a device as run folder": Case("train hydra.run.dir=/dev/null", ("/dev/null: cannot be created", "hydra.run.dir=")),
    "a device as sweep folder": Case(
        "train -m seed=1,2 hydra.sweep.dir=/dev/null", ("/dev/null: cannot be created", "hydra.sweep.dir=")
    ),
    "a node for a name": Case(
        "train 'logger={{_target_:lightning.pytorch.loggers.TensorBoardLogger}}'",
        ("must be the name of a file of conf/logger",),
    ),
    "a name for a mapping": Case(
        "train model.stages.fit.optimizer=sgd",
        ("fit.optimizer must be a mapping; optimizer@model.stages.fit.optimizer=NAME",),
    ),
    "a name for a stage": Case("train model.stages.fit=quadratic", ("stage@model.stages.fit=NAME",)),
    "a number for a list": Case("train model=mlp model.net.hidden=3", ("must be a list, such as model.net.hidden=",)),
    # keys that other datasets use
    "root of no files": Case("train dataset.root=photos", ("dataset digits reads no files; add dataset=image_folder",)),
    "an empty root": Case("train dataset=mnist \"dataset.root=${{oc.env:NONE,''}}\"", ("dataset.root is empty",)),
    "header of no table": Case("train dataset.header=maybe", ("dataset.header=maybe must be auto, true or false",)),
    "bad images": Case("train dataset.on_bad_image=maybe", ("on_bad_image=maybe must be refuse or skip",)),
    "workers of evaluate": Case("evaluate checkpoint={run} dataset.workers=-1", ("workers=-1 must be >= 0",)),
    "machines without a launcher": Case("train accelerator.num_nodes=2", ("num_nodes=2: start", "srun or torchrun")),
    "weights of torchvision": Case(
        "train model=logistic weights=DEFAULT", ("torchvision has no weights for MLP", "run folder")
    ),
    # keys
    "root key": Case("train epohcs=3", ("epohcs: no such key", "did you mean epochs")),
    "stage key": Case("train model.stages.fit.epohcs=3", ("model.stages.fit.epohcs", "did you mean epochs")),
    "stage": Case("train model.stages.fti.epochs=3", ("model.stages.fti", "did you mean fit")),
    "net key": Case("train model=mlp model.net.hiden=[16]", ("model.net.hiden", "did you mean hidden")),
    "task key": Case("train model.stages.fit.task.label_smothing=0", ("did you mean label_smoothing",)),
    "optimizer key": Case("train model.stages.fit.optimizer.momentum=0.1", ("momentum: no such key", "weight_decay")),
    "dataset key": Case("train dataset.validaton=3", ("dataset.validaton", "did you mean validation")),
    "augment key": Case("train dataset.augment.shfit=3", ("dataset.augment.shfit", "did you mean shift")),
    "predict key": Case("predict checkpoint={run} inptu=3", ("inptu", "did you mean input")),
    "evaluate key": Case("evaluate chekpoint={run}", ("chekpoint", "did you mean checkpoint")),
    "hydra key": Case("train hydra.foo=3", ("hydra.foo: no such key",)),
    "key to delete": Case("train ~foo", ("'foo' does not exist",)),
    # keys of earlier versions
    "renamed input scaling": Case("train model.inputs=unit", ("model.inputs was renamed: use model.input_scaling",)),
    "renamed head": Case(
        "train weights_head=load", ("weights_head was renamed: use pretrained_head", "load is now keep")
    ),
    "renamed map": Case("train codes=tsne", ("codes was renamed: use latent_map",)),
    "renamed labels": Case("train dataset.labels=9", ("dataset.labels was renamed: use dataset.labeled_examples",)),
    "renamed order": Case(
        "train model.stages.fit.schedule=joint",
        ("model.stages.fit.schedule was renamed: use model.stages.fit.order", "joint or layerwise"),
    ),
    "renamed target of the order": Case(
        "train model.stages.fit.schedule._target_=zoo.training.schedules.joint",
        ("model.stages.fit.schedule was renamed: use model.stages.fit.order",),
    ),
    "renamed argument of a net": Case(
        "train model=resnet18 model.net.grey=true", ("model.net.grey was renamed: use model.net.gray",)
    ),
    "renamed argument of a task": Case(
        "train model.stages.fit.task.flips=true",
        ("model.stages.fit.task.flips was renamed: use model.stages.fit.task.mirror_average",),
    ),
    "renamed key of predict": Case("predict checkpoint={run} flips=true", ("flips was renamed: use mirror_average",)),
    "an old key that is a misspelling": Case("predict checkpoint={run} inputs=x", ("inputs: no such key", "input")),
    "renamed key in a file": Case(
        "train --config-dir own model=own",
        ("model/own.yaml: model.inputs was renamed: use model.input_scaling",),
        lambda folder: own_model(folder, "lenet5", "inputs: unit"),
    ),
    "a folder of configs that is not there": Case(
        "train --config-dir own", ("--config-dir: Additional config directory", "own' not found")
    ),
    "renamed argument in a file": Case(
        "train --config-dir own model=own",
        ("model.net.grey was renamed: use model.net.gray",),
        lambda folder: own_model(folder, "resnet18", "net: {grey: true}"),
    ),
    # types
    "lr=abc": Case("train lr=abc", ("lr=abc must be a number",)),
    "epochs=1.5": Case("train epochs=1.5", ("epochs=1.5 must be an integer",)),
    "batch_size of predict": Case(
        "predict checkpoint={run} input=x batch_size=x", ("batch_size=x must be an integer",)
    ),
    "tolerance of export": Case("export checkpoint={run} tolerance=x", ("tolerance=x must be a number",)),
    "kernel_size=0.1": Case(
        "train model=lenet model.net.kernel_size=0.1", ("kernel_size=0.1 must be an integer, or a list",)
    ),
    "padding={a:1}": Case(
        "train model=lenet model.net.padding={{a:1}}", ("model.net.padding={'a': 1} must be an integer",)
    ),
    "stride=[0.5,1]": Case(
        "train model=lenet model.net.stride=[0.5,1]", ("model.net.stride[0]=0.5 must be an integer",)
    ),
    "pool=null": Case("train model=conv_dbn model.net.pool=null", ("model.net.pool=null is not allowed",)),
    "hidden=[a]": Case("train model=mlp model.net.hidden=[a]", ("model.net.hidden[0]=a must be an integer",)),
    "label_smoothing=x": Case(
        "train model.stages.fit.task.label_smoothing=x", ("fit.task.label_smoothing=x must be a number",)
    ),
    "a node is a number": Case(
        "train dataset.augment=3", ("dataset.augment must be a mapping; augment@dataset.augment=NAME",)
    ),
    "a node is a list": Case(
        "train dataset.augment=[3]", ("dataset.augment must be a mapping; augment@dataset.augment=NAME",)
    ),
    "hidden=3": Case("train model=mlp model.net.hidden=3", ("model.net.hidden must be a list",)),
    "shape=3": Case("train dataset.shape=3", ("dataset.shape must be a list",)),
    "one label": Case(
        "train model=mlp model.net.hidden=[3] dataset=npz dataset.root=one.npz",
        ("Classification needs at least two classes; all examples have the label 0",),
        lambda folder: np.savez(folder / "one.npz", x=np.random.rand(40, 4), y=np.zeros(40, int)),
    ),
    "shift=1.5": Case("train dataset.augment.shift=1.5", ("dataset.augment.shift=1.5 must be an integer",)),
    "progress=maybe": Case("train progress=maybe", ("progress=maybe must be true or false",)),
    "seed=null": Case("train seed=null", ("seed=null is not allowed; give a value",)),
    "weights=[a]": Case("train weights=[a]", ("weights=[a]: expected a .pth",)),
    "class_weights=x": Case(
        "train model.stages.fit.task.class_weights=x",
        ("fit.task.class_weights=x must be true or false, or a list",),
    ),
    "stages=3": Case("train model.stages=3", ("model.stages must be a mapping",)),
    "no optimizer": Case(
        "train ~model.stages.fit.optimizer",
        (
            "~model.stages.fit.optimizer: cannot be deleted; "
            "optimizer@model.stages.fit.optimizer=NAME chooses a file of conf/optimizer",
        ),
    ),
    "no epochs": Case("train ~model.stages.fit.epochs", ("cannot be deleted; set it with model.stages.fit.epochs=",)),
    "interpolation": Case("train 'lr=${{foo}}'", ("'foo' not found",)),
    # choices
    "near model": Case("train model=lenet_5", ("model=lenet_5: no such model", "did you mean lenet5")),
    "far model": Case("train model=xyzzy", ("no such model", "choose one of:", "mlp_50_100")),
    "one of two callbacks": Case("train callbacks=[swa,nope]", ("callbacks=nope: no such callbacks", "lr_monitor")),
    "key of debug": Case("train +debug.foo=1", ("+debug.foo=1: debug has no keys",)),
    "dataset": Case("train dataset=mnits", ("dataset=mnits: no such dataset", "did you mean mnist")),
    "evaluate's dataset": Case("evaluate checkpoint={run} dataset=nope", ("dataset=nope: no such dataset",)),
    "sharded": Case(
        "train model=dbn accelerator.strategy=fsdp",
        ("accelerator.strategy=fsdp", "contrastive divergence", "use accelerator.strategy=ddp"),
    ),
    "accelerator": Case("train accelerator=gpus", ("no such accelerator", "did you mean gpu")),
    "experiment": Case("train experiment=nope", ("experiment=nope: no such experiment",)),
    "logger": Case("train logger=tensorbord", ("no such logger", "did you mean tensorboard")),
    "optimizer": Case("train optimizer@model.stages.fit.optimizer=adamm", ("no such optimizer", "adam or adamw")),
    "misplaced group": Case(
        "train optimizer=adam", ("optimizer: no such group", "optimizer@model.stages.fit.optimizer")
    ),
    "input scaling": Case(
        "train model.input_scaling=raw", ("model.input_scaling=raw", "standardized, unit or whitened")
    ),
    "command": Case("trian model=mlp", ("unknown command 'trian'; did you mean 'train'?",)),
    "export format": Case("export checkpoint={run} format=tf", ("format=tf must be onnx or torch_export",)),
    "predict format": Case(
        "predict checkpoint={run} input=x format=xml", ("format=xml must be auto, table or kaggle",)
    ),
    # grammar
    "two words": Case("train model lenet5", ("'model' is not KEY=VALUE", "zoo train --help")),
    "open bracket": Case("train lr=[", ("'lr=[' cannot be parsed",)),
    "flag like no other": Case("train --foo", ("unknown flag '--foo'; see zoo train --help",)),
    "unknown flag": Case("train --mutlirun", ("unknown flag '--mutlirun'; did you mean --multirun",)),
    "far command": Case("xyzzy", ("unknown command 'xyzzy'; choose one of: train, evaluate",)),
    "no key": Case("train =3", ("'=3' is not KEY=VALUE",)),
    # numbers
    "batch_size=0": Case(ONE + "batch_size=0", ("batch_size=0", "must be >= 1")),
    "epochs=0": Case("train model=logistic epochs=0", ("epochs=0", ">= 1")),
    "predict batch_size=0": Case("predict checkpoint={run} input=x batch_size=0", ("batch_size=0 must be >= 1",)),
    "validation too large": Case(ONE + "dataset.validation=2000", ("dataset.validation=2000: takes 2000 of",)),
    "test too large": Case(ONE + "dataset.test=3000", ("dataset.test=3000: takes 3000 of",)),
    "patience": Case(ONE + "model.stages.fit.patience=2 dataset.validation=0", ("patience", "dataset.validation")),
    # targets
    "os.system": Case(ONE + "model.net._target_=os.system", ("model.net._target_: 'os.system'",)),
    "open": Case(
        ONE + "model.stages.fit.optimizer._target_=builtins.open", ("fit.optimizer._target_: 'builtins.open'",)
    ),
    "torch.load": Case(ONE + "dataset.source._target_=torch.load", ("dataset.source._target_: 'torch.load'",)),
    # model and dataset
    "linear on digits": Case(
        "train model=linear dataset=digits",
        ("model linear with dataset digits", "Regression", "class labels"),
    ),
    "lenet5 on line": Case("train model=lenet5 dataset=line", ("Classification", "class labels")),
    "mlp_2_3_2_2 on digits": Case(
        "train model=mlp_2_3_2_2 dataset=digits", ("inputs of shape 2, the data have shape 1x28x28",)
    ),
    "augment on vectors": Case(
        "train model=linear dataset=line dataset.augment.shift=1", ("dataset.augment", "images")
    ),
    "two classes only": Case(
        "train model=mlp model.stages.fit.task.loss=binary_cross_entropy", ("binary_cross_entropy", "have 10")
    ),
    "shape": Case(ONE + "dataset.shape=[1,32,32]", ("dataset.shape=[1, 32, 32]", "[1, 28, 28]")),
    # files of datasets
    "mnist not there": Case(
        "train model=logistic dataset=mnist dataset.root=gone dataset.download=false",
        ("MNIST is not in gone", "dataset.root=", "dataset.download=true"),
    ),
    "mnist offline": Case(
        "train model=logistic dataset=mnist dataset.root=gone", ("MNIST is not in gone", "cannot be downloaded")
    ),
    "image_folder not there": Case(OWN + "dataset=image_folder dataset.root=gone", ("gone: no such folder",)),
    "image_folder empty": Case(
        OWN + "dataset=image_folder dataset.root=photos",
        ("photos: no subfolders",),
        lambda folder: (folder / "photos").mkdir(),
    ),
    "class empty": Case(
        OWN + "dataset=image_folder dataset.root=photos",
        ("photos/b: no images",),
        lambda folder: (pictures(folder, "a"), (folder / "photos" / "b").mkdir()),
    ),
    "one class": Case(
        OWN + "dataset=image_folder dataset.root=photos",
        ("Classification needs class labels", "photos has only one class (a)", "at least two"),
        lambda folder: pictures(folder, "a"),
    ),
    "truncated picture": Case(
        OWN + "dataset=image_folder dataset.root=photos dataset.workers=0",
        ("photos/a/", "not a readable image"),
        truncated,
    ),
    "digit_recognizer not there": Case(
        OWN + "dataset=digit_recognizer dataset.root=gone", ("gone/train.csv is missing", "kaggle.com", "dataset.root=")
    ),
    "no label": Case(
        OWN + "dataset=digit_recognizer dataset.root=.", ("train.csv: no column 'label'",), table(label=False)
    ),
    "ragged row": Case(
        OWN + "dataset=digit_recognizer dataset.root=.",
        ("train.csv, line 62: 3 values, but the header has 785",),
        table("1,2,3"),
    ),
    "pixel out of range": Case(
        OWN + "dataset=digit_recognizer dataset.root=.",
        ("train.csv, line 62", "256", "[0, 255]"),
        table("1,256" + ",0" * 783),
    ),
    "word for a pixel": Case(
        OWN + "dataset=digit_recognizer dataset.root=.", ("train.csv, line 62: 'x'",), table("1,x" + ",0" * 783)
    ),
    "label of no class": Case(
        OWN + "dataset=digit_recognizer dataset.root=.", ("train.csv", "label 11", "[0, 9]"), table("11" + ",0" * 784)
    ),
    "npz not there": Case(OWN + "dataset=npz dataset.root=gone.npz", ("gone.npz: no such file", "x_train")),
    "npz label": Case(
        OWN + "dataset=npz dataset.root=good.npz dataset.num_classes=7",
        ("good.npz, y", "has label 7", "[0, 6]", "dataset.num_classes"),
        arrays,
    ),
    "npz with objects": Case(OWN + "dataset=npz dataset.root=objects.npz", ("objects.npz",), arrays),
    # checkpoints
    "no checkpoint=": Case("evaluate", ("checkpoint= is required", "zoo evaluate --help")),
    "no input=": Case("predict checkpoint={run}", ("input= is required", "zoo predict --help")),
    "checkpoint not there": Case("evaluate checkpoint=gone", ("no checkpoint 'gone'", "run folder")),
    "checkpoint unreadable": Case(
        "export checkpoint=bad.safetensors", ("bad.safetensors: not a readable",), text("bad.safetensors")
    ),
    "checkpoint foreign": Case("predict checkpoint=foreign.pth input=foreign.pth", ("foreign.pth: not a",), foreign),
    "checkpoint unpickled": Case("evaluate checkpoint={run}/checkpoints/last.ckpt", ("last.ckpt: not a readable",)),
    "resume": Case("train resume=gone", ("resume=gone: not a run folder",)),
    # inputs
    "input not there": Case("predict checkpoint={run} input=gone", ("input=gone: no such file or folder",)),
    "folder without pictures": Case(
        "predict checkpoint={run} input=photos", ("photos: no images",), lambda folder: (folder / "photos").mkdir()
    ),
    "not a picture": Case("predict checkpoint={run} input=x.png", ("x.png: not a readable image",), text("x.png")),
    "picture size": Case(
        "predict checkpoint={run} input=photos",
        ("photos/a/0.png", "1x30x40", "1x28x28", "resize=true"),
        lambda folder: pictures(folder, "a", shape=(30, 40)),
    ),
    "picture channels": Case(
        "predict checkpoint={run} input=photos/a/0.png",
        ("photos/a/0.png", "3x28x28", "1x28x28", "resize=true"),
        lambda folder: pictures(folder, "a", shape=(28, 28, 3)),
    ),
    "array size": Case("predict checkpoint={run} input=small.npz", ("small.npz", "1x20x28", "1x28x28"), arrays),
    "columns": Case("predict checkpoint={run} input=x.csv", ("x.csv", "expected 784"), text("x.csv")),
    "evaluate's image size": Case(
        "evaluate checkpoint={run} dataset=npz dataset.root=small.npz",
        ("npz: input of shape 1x20x28", "expects shape 1x28x28"),
        arrays,
    ),
    "evaluate's channels": Case(
        "evaluate checkpoint={run} dataset=image_folder dataset.root=photos dataset.shape=[3,28,28]",
        ("image_folder: input of shape 3x28x28", "expects shape 1x28x28"),
        lambda folder: pictures(folder, "a", "b"),
    ),
    "evaluate's classes": Case(
        "evaluate checkpoint={run} dataset=image_folder dataset.root=photos dataset.shape=[1,28,28]",
        ("image_folder has the classes a, b", "the checkpoint has 0, 1"),
        lambda folder: pictures(folder, "a", "b"),
    ),
    # outputs
    "predict's output": Case(
        "predict checkpoint={run} input=x output=there.csv", ("there.csv exists", "overwrite=true"), text("there.csv")
    ),
    "export's output": Case(
        "export checkpoint={run} output=there.onnx", ("there.onnx exists", "overwrite=true"), text("there.onnx")
    ),
    "evaluate's output": Case(
        "evaluate checkpoint={run} output=there.json", ("there.json exists", "overwrite=true"), text("there.json")
    ),
    # training without labels
    "rbm outside 0 to 1": Case(
        QUIET + "model=rbm dataset=npz dataset.root=outside.npz",
        ("model rbm with dataset npz", "Bernoulli visible units", "model.input_scaling=unit", "visible_units"),
        outside,
    ),
    "dbn_generative outside 0 to 1": Case(
        QUIET + "model=dbn_generative model.stages.pretrain.epochs=0 dataset=npz dataset.root=outside.npz",
        ("model dbn_generative with dataset npz", "must be in [0, 1]"),
        outside,
    ),
    "sae outside 0 to 1": Case(
        QUIET + "model=sae dataset=npz dataset.root=outside.npz",
        ("model sae with dataset npz", "loss=cross_entropy needs values in [0, 1]", "or loss=squared_error"),
        outside,
    ),
    "deep_autoencoder outside 0 to 1": Case(
        QUIET + "model=deep_autoencoder model.stages.pretrain.epochs=0 dataset=npz dataset.root=outside.npz",
        ("loss=cross_entropy needs values in [0, 1]",),
        outside,
    ),
    "standardized inputs of an rbm": Case(
        QUIET + "model=rbm model.input_scaling=standardized",
        ("model rbm with dataset digits", "set model.input_scaling=unit"),
    ),
    "label units without labels": Case(
        QUIET + "model=dbn_generative dataset=line",
        ("model dbn_generative with dataset line", "label_units need class"),
    ),
    "label units of another number": Case(
        QUIET + "model=rbm model.net.label_units=3", ("has 3 outputs", "data need 10")
    ),
    "float16 of an rbm": Case(
        QUIET + "model=rbm accelerator.precision=16-mixed",
        ("accelerator.precision=16-mixed", "bf16-mixed or 32-true", "ContrastiveDivergence"),
    ),
    "float16 of a belief network": Case(
        QUIET + "model=dbn accelerator.precision=16-mixed", ("accelerator.precision=16-mixed", "ContrastiveDivergence")
    ),
    "contrastive divergence on all layers": Case(
        QUIET + "model=dbn model.stages.pretrain.order=joint",
        ("one RBM at a time", "order=layerwise"),
    ),
    "wake-sleep layer by layer": Case(
        QUIET + "model=dbn_generative model.stages.updown.order=layerwise",
        ("whole net", "order=joint"),
    ),
    "labels of a net that needs all": Case(
        QUIET + "model=dbn_generative dataset.labeled_examples=50", ("dataset.labeled_examples", "label_units")
    ),
    "labels too many": Case(
        ONE + "dataset.labeled_examples=5000", ("dataset.labeled_examples=5000: takes 5000 of 1293 examples",)
    ),
    "labels too few": Case(ONE + "dataset.labeled_examples=5", ("dataset.labeled_examples=5", "too few", "10 classes")),
    "labels=0": Case(ONE + "dataset.labeled_examples=0", ("dataset.labeled_examples=0", "must be >= 1")),
    "labels=-1": Case(ONE + "dataset.labeled_examples=-1", ("dataset.labeled_examples=-1", "must be >= 1")),
    "a class in the test part only": Case(
        OWN + "dataset=image_folder dataset.root=photos",
        ("photos/test", "'c'", "photos/train"),
        lambda folder: (pictures(folder, "train/a", "train/b"), pictures(folder, "test/a", "test/c")),
    ),
    "a picture one pixel wide": Case(
        OWN + "dataset=image_folder dataset.root=photos",
        ("photos/a", "1 pixels wide", "on_bad_image=skip"),
        lambda folder: (pictures(folder, "a", shape=(28, 1)), pictures(folder, "b")),
    ),
    "on_bad_image": Case(
        OWN + "dataset=image_folder dataset.root=photos dataset.on_bad_image=ignore",
        ("dataset.on_bad_image=ignore", "refuse or skip"),
        lambda folder: pictures(folder, "a", "b"),
    ),
    "weights misspelled": Case(
        QUIET + "model=resnet18 dataset=digits weights=IMAGENET_V1", ("weights=IMAGENET_V1", "IMAGENET1K_V1")
    ),
    "weights of a net that torchvision has not": Case(ONE + "weights=DEFAULT", ("weights=DEFAULT", "a run folder")),
    "weights not there": Case(ONE + "weights=gone.pth", ("weights=gone.pth", "no such file")),
    "pretrained_head": Case(ONE + "pretrained_head=old", ("pretrained_head=old", "reset or keep")),
    "architecture": Case(
        QUIET + "model=torchvision model.net.architecture=resnet19 dataset=digits",
        ("architecture=resnet19", "resnet18"),
    ),
    "policy": Case(ONE + "model.stages.fit.task.policy=slow", ("policy=slow", "full, head, gradual")),
    "unfreeze_at": Case(
        ONE + "model.stages.fit.task.policy=gradual model.stages.fit.task.unfreeze_at=[3,1]", ("unfreeze_at=[3, 1]",)
    ),
    "crop": Case(ONE + "dataset.augment.crop=2", ("dataset.augment.crop=2", "[0.001, 1]")),
    "mixup of values": Case(
        "train model=linear dataset=line progress=false dataset.augment.mixup=0.2", ("dataset.augment", "images")
    ),
    "checkpoint_every": Case(ONE + "model.stages.fit.checkpoint_every=-1", ("checkpoint_every=-1",)),
    "task key of an rbm": Case(QUIET + "model=rbm model.stages.fit.task.chain=3", ("fit.task.chain", "mean chains")),
    "corruption": Case(
        QUIET + "model=sae model.stages.pretrain.task.corruption=salt",
        ("corruption=salt", "masking", "salt_and_pepper"),
    ),
    "loss of an autoencoder": Case(
        QUIET + "model=sae model.stages.pretrain.task.loss=quadratic",
        ("loss=quadratic", "cross_entropy, squared_error"),
    ),
    "level": Case(QUIET + "model=sae model.stages.pretrain.task.level=2", ("level=2", "must be in [0, 1]")),
    "k=0": Case(QUIET + "model=rbm model.stages.fit.task.k=0", ("model.stages.fit.task.k=0", "must be >= 1")),
    "k=0 of wake-sleep": Case(QUIET + "model=dbn_generative model.stages.updown.task.k=0", ("k=0", "must be >= 1")),
    "momentum of Adam": Case(
        QUIET + "model=rbm optimizer@model.stages.fit.optimizer=adam",
        ("initial_momentum: Adam has no momentum", "null", "SGD"),
    ),
    "epochs=0 in all stages": Case(QUIET + "model=dbn epochs=0", ("epochs=0", "at least one stage")),
    "epochs=-1 in one stage": Case(QUIET + "model=dbn model.stages.pretrain.epochs=-1", ("epochs=-1",)),
    "min_steps=0": Case(QUIET + "model=dbn model.stages.finetune.min_steps=0", ("min_steps=0", "must be >= 1")),
    "denoise a belief network": Case(
        QUIET + "model=dbn stage@model.stages.pretrain=denoise",
        ("needs an autoencoder, got layer 0 of DBN",),
    ),
    "contrastive divergence on mlp": Case(
        QUIET + "model=mlp stage@model.stages.fit=contrastive_divergence",
        ("contrastive divergence needs an RBM", "got MLP"),
    ),
    "latent map": Case(QUIET + "model=rbm latent_map=nonsense", ("latent_map=nonsense: choose pca or tsne",)),
    "latent map of a classifier": Case(ONE + "latent_map=umap", ("latent_map=umap: choose pca or tsne",)),
    # list and show
    "list": Case("list xyzzy", ("nothing matches 'xyzzy'", "zoo list shows everything")),
    "list two": Case("list a b", ("expected one pattern at most",)),
    "show": Case("show lenet_5", ("no model or checkpoint 'lenet_5'", "did you mean lenet5")),
    "show nothing": Case("show", ("expected one name", "lenet5_1998", "lenet5-digits")),
    "show two": Case("show lenet5 mlp", ("zoo show: expected one name", "lenet5-digits")),
    "completion": Case("completion tcsh", ("expected one of bash, zsh, fish",)),
    "push": Case("push checkpoint=lenet5-digits to=me", ("to=me: must be hf://OWNER/NAME",)),
    "reproduce nothing": Case("reproduce", ("expected one checkpoint, or all", "lenet5-digits")),
    "reproduce": Case(
        "reproduce lenet5_digits", ("no shipped checkpoint 'lenet5_digits'; did you mean lenet5-digits",)
    ),
    "chains of a classifier": Case("evaluate checkpoint={run} chains=0", ("chains=0 must be >= 2",)),
    "one chain": Case("evaluate checkpoint={run} chains=1", ("chains=1 must be >= 2",)),
    "temperatures of a classifier": Case("evaluate checkpoint={run} temperatures=0", ("temperatures=0 must be >= 1",)),
    "show a path": Case("show gone/model.safetensors", ("no checkpoint 'gone/model.safetensors'",)),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(outcome, command: str) -> str:
    """The one message, after the checks that hold for every error."""
    prefix = f"zoo {command}: " if command in COMMANDS else "zoo: "
    assert outcome.status == 1
    assert outcome.out == ""
    assert outcome.err.startswith(prefix)
    assert outcome.err.count(prefix) == 1
    assert 0 < len(outcome.err.splitlines()) <= 10
    for leak in ("Traceback", "HYDRA_FULL_ERROR", "internal error", "Error("):
        assert leak not in outcome.err
    return outcome.err


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.usefixtures("offline")
def test_an_error_is_one_message_and_leaves_no_files(case, cli, folder, trained):
    case.plant(folder)
    before = contents(folder)
    command, *arguments = shlex.split(case.arguments.format(run=trained))
    message = refused(cli(command, *arguments), command)
    for part in case.says:
        assert part in message
    assert contents(folder) == before


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
@pytest.mark.parametrize("name", ["gpu", "mps", "ddp"])
def test_an_accelerator_that_is_not_here_is_refused(command, name, cli, folder, trained):
    kind = compose("train", [f"accelerator={name}"]).accelerator.accelerator
    if {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[kind]:
        pytest.skip(f"this machine has {kind}")
    needed = {"train": [], "evaluate": [f"checkpoint={trained}"], "predict": [f"checkpoint={trained}", "input=x"]}
    message = refused(cli(command, *needed[command], f"accelerator={name}"), command)
    assert "use accelerator=auto or cpu" in message
    assert not contents(folder)


@pytest.mark.parametrize("argument", ["debug=true", "debug=True"])
def test_debug_prints_the_traceback(argument, cli, folder):
    outcome = cli("evaluate", "checkpoint=gone", argument)
    assert outcome.status == 1
    assert outcome.err.startswith("Traceback")
    assert "no checkpoint 'gone'" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("seed=1,2 model=linear dataset=digits", "model linear with dataset digits"),
        ("seed=1,x model=logistic", "seed=x must be an integer"),
        ("model=lenet5,nope", "model=nope: no such model"),
        ("seed=range(3,1)", "the sweep has no jobs"),
        ("model=glob(zzz*)", "the sweep has no jobs"),
    ],
)
def test_a_sweep_that_fails_says_so_once(arguments, says, cli, folder):
    outcome = cli("train", "-m", *arguments.split())
    assert outcome.status == 1
    assert outcome.err.count(says) == 1
    assert "Traceback" not in outcome.err
    assert not list(folder.rglob("config.yaml"))
