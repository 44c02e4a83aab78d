"""Every command works on the convolutional belief network: for photographs without labels, and as a classifier."""

import json

import numpy as np
import pytest
import torch
from support import no_plots, weights_of

import zoo

SMALL = ["model.net.hidden=[6,5]", "model.net.kernel_size=[5,3]", "progress=false", "accelerator=cpu"]
PHOTOS = ["model=conv_dbn_photos", "dataset=image_folder", "dataset.shape=[1,28,28]", "dataset.test=4", *SMALL]
DIGITS = ["model=conv_dbn", "dataset=digits", *SMALL, "model.net.kernel_size=[3,2]", "epochs=1"]


def done(outcome):
    """The output of a command that succeeded."""
    assert (outcome.status, outcome.err) == (0, ""), outcome
    return outcome.out


@pytest.mark.slow
def test_photographs_are_whitened_by_all_commands(cli, folder, pictures):
    root = f"dataset.root={pictures}"
    done(cli("train", *PHOTOS, root, "epochs=2", "hydra.run.dir=run"))
    assert (folder / "run" / "pretrain-features.png").is_file()
    assert json.loads((folder / "run" / "preprocess.json").read_text())["whitening"] == "1/f"
    assert "whitened" in done(cli("show", "run"))
    assert "test/reconstruction_error" in done(cli("evaluate", "checkpoint=run", "accelerator=cpu"))
    done(cli("sample", "checkpoint=run", "n=2", "steps=2", "output=samples.npz"))
    assert np.load("samples.npz")["x"].shape == (2, 1, 28, 28)

    # Features, from zoo embed and from the exported file, are those of the net on whitened images.
    done(cli("embed", "checkpoint=run", f"input={pictures}", "output=features.npz", "accelerator=cpu"))
    net, transforms = zoo.load("run"), zoo.info("run").transforms()
    assert transforms.whitening == "1/f"
    assert np.load("features.npz")["features"].shape == (20, net.num_features)
    done(cli("export", "checkpoint=run", "output=net.onnx", "preprocess=true"))
    import onnxruntime

    raw = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)
    session = onnxruntime.InferenceSession("net.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: raw.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, net(transforms(raw)), atol=1e-3)

    # The upper layer alone, on other photographs of another size.
    words = ["weights=run", "model.stages.pretrain.first_layer=1", "dataset.size=[26,30]", "epochs=1"]
    words += ["model.net.hidden=[6,4,3]", "model.net.kernel_size=[5,3,2]"]
    done(cli("train", *PHOTOS, *words, root, "hydra.run.dir=parts"))
    before, after = weights_of(folder / "run"), weights_of(folder / "parts")
    for name, value in before.items():
        if name.startswith("layers.0."):
            assert torch.equal(value, after[name]), name
        else:
            assert value.shape != after[name].shape or not torch.equal(value, after[name]), name


@pytest.mark.slow
def test_a_classifier_trains_and_predicts(cli, folder, pictures):
    done(cli("train", *DIGITS, "model.net.head_layers=2", "dataset.labeled_examples=100", "hydra.run.dir=run"))
    assert "test/accuracy" in done(cli("evaluate", "checkpoint=run", "accelerator=cpu"))
    image = pictures / "above" / "0.png"
    assert "1 prediction" in done(cli("predict", "checkpoint=run", f"input={image}", "accelerator=cpu"))
    assert "1 image explained" in done(
        cli("explain", "checkpoint=run", f"input={image}", "output=map.png", "accelerator=cpu")
    )
    done(cli("export", "checkpoint=run", "output=net.onnx"))
    features = ["embed", "checkpoint=run", f"input={pictures}", "output=features.npz", "accelerator=cpu"]
    done(cli(*features))
    assert np.load("features.npz")["features"].shape == (20, zoo.load("run").num_features)
    assert "conv_dbn" in done(cli("show", "run"))
    # Fine-tuning has made it a classifier, which is no distribution over images any more.
    refused = cli("sample", "checkpoint=run", "n=2", "steps=2", "output=samples.png")
    assert (refused.status, len(refused.err.strip().splitlines())) == (1, 1), refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.net.kernel_size=[29,2]"], "fewer than the 29"),
        (["model.net.head_layers=3"], "head_layers=3 must be 1, or 2"),
        (["model.stages.pretrain.first_layer=2"], "first_layer=2: the net has 2 layers"),
        (["model.stages.finetune.first_layer=1"], "first_layer=1 is for order=layerwise"),
        (["model.input_scaling=whitened"], "must be in [0, 1]"),
        (["model.stages.pretrain.task.hidden_bias_lr_factor=-1"], "hidden_bias_lr_factor"),
        (["model.stages.pretrain.task.centered=true"], "ConvRBM has no centered gradient"),
    ],
)
def test_wrong_input_gets_one_line(words, message, cli, folder, monkeypatch):
    no_plots(monkeypatch)
    outcome = cli("train", *DIGITS, *words, "hydra.run.dir=run")
    assert outcome.status == 1
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not (folder / "run").exists()


def test_other_rbms_have_no_learning_rate_of_their_own_for_hidden_biases(cli, folder):
    words = ["model=rbm", "dataset=digits", "model.stages.fit.task.hidden_bias_lr_factor=2"]
    outcome = cli("train", *words, "hydra.run.dir=run")
    assert outcome.status == 1
    assert "hidden_bias_lr_factor=2.0 is for convolutional RBMs, not RBM; set it to null" in outcome.err
