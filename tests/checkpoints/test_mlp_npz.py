"""Weights of an MLP from a NumPy archive against NumPy itself, and archives that are refused."""

import zipfile

import numpy as np
import pytest
import torch

from zoo.checkpoints.mlp_npz import load_mlp


def arrays(dtype):
    rng = np.random.default_rng(0)
    shapes = {"W1": (5, 6), "b1": (6,), "W2": (6, 3), "b2": (3,), "W3": (3, 4), "b3": (4,)}
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-12)])
def test_load_mlp_predicts_what_numpy_does(tmp_path, dtype, tolerance):
    w = arrays(dtype)
    np.savez(tmp_path / "net.npz", **w)
    x = np.random.default_rng(1).normal(size=(7, 5)).astype(dtype)
    a = x
    for k in "12":
        a = 1 / (1 + np.exp(-(a @ w[f"W{k}"] + w[f"b{k}"])))
    y = load_mlp(tmp_path / "net.npz")(torch.from_numpy(x)).detach().numpy()
    assert y.dtype == dtype
    np.testing.assert_allclose(y, a @ w["W3"] + w["b3"], rtol=tolerance, atol=tolerance)


def test_load_mlp_takes_other_activations_and_a_linear_model(tmp_path):
    w = {"W1": np.array([[1.0, -2.0], [3.0, 4.0]]), "b1": np.array([0.5, -0.5])}
    np.savez(tmp_path / "net.npz", **w)
    net = load_mlp(tmp_path / "net.npz", activation="tanh", output_activation="relu")
    assert not net.training
    assert net(torch.tensor([[1.0, -1.0]]).double()).tolist() == [[0.0, 0.0]]
    assert net(torch.tensor([[1.0, 1.0]]).double()).tolist() == [[4.5, 1.5]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"b2": None}, "W1, b1, W2, b2.*found W1, W2, W3, b1, b3"),
        ({"W2": None}, "found W1, W3, b1, b2, b3"),
        ({"extra": np.zeros(3)}, "found W1, W2, W3, b1, b2, b3, extra"),
        ({"W2": np.zeros((7, 3))}, r"W2 \(7, 3\) and b2 do not fit 6 inputs"),
        ({"b3": np.zeros(5)}, r"W3 \(3, 4\) and b3 do not fit 3 inputs"),
        ({"W1": np.zeros((5, 6)).astype(object)}, "pickle"),
    ],
    ids=["missing bias", "missing matrix", "extra array", "unchained", "bias of another width", "pickled objects"],
)
def test_load_mlp_refuses_what_is_not_a_net(tmp_path, changes, message):
    w = {name: array for name, array in (arrays(np.float32) | changes).items() if array is not None}
    np.savez(tmp_path / "net.npz", **w)
    with pytest.raises(ValueError, match=message):
        load_mlp(tmp_path / "net.npz")


@pytest.mark.parametrize("content", ["text", "one array", "nothing"])
def test_load_mlp_refuses_a_file_that_is_no_archive(tmp_path, content):
    path = tmp_path / "net.npz"
    with path.open("wb") as file:
        if content == "text":
            file.write(b"W1 = [[1, 2], [3, 4]]")
        elif content == "one array":
            np.save(file, np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"net\.npz"):
        load_mlp(path)


def test_weights_that_are_nan_or_inf_are_refused_by_their_name(tmp_path):
    w = arrays(np.float32)
    w["W2"][1, 1] = np.nan
    np.savez(tmp_path / "net.npz", **w)
    with pytest.raises(ValueError, match=r"net\.npz: W2 contains NaN or Inf$"):
        load_mlp(tmp_path / "net.npz")


def test_an_archive_that_claims_more_than_it_holds_is_refused(tmp_path):
    """NumPy would allocate what a header says, and what is compressed may be a thousand times as large."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
    with zipfile.ZipFile(tmp_path / "net.npz", "w") as archive, archive.open("W1.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(ValueError, match=r"net\.npz: not a readable .npz archive .* \(W1\.npy is truncated\)"):
        load_mlp(tmp_path / "net.npz")
    with (
        zipfile.ZipFile(tmp_path / "net.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("W1.npy", "w") as file,
    ):
        for _ in range(300):
            file.write(bytes(2**20))
    with pytest.raises(ValueError, match=r"it unpacks to 314,572,800 bytes, more than 20 times its size"):
        load_mlp(tmp_path / "net.npz")
