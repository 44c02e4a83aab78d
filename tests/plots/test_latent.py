"""Maps of latent codes."""

import numpy as np
import pytest
import torch
from support import png_size

from zoo.plots.latent import latent_map


def offsets(figure) -> list[np.ndarray]:
    """Points in the plane, class by class."""
    return [np.asarray(part.get_offsets()) for part in figure.axes[0].collections]


def test_features_of_two_units_are_drawn_as_they_are(tmp_path, figures):
    points = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    latent_map(points, [1, 0, 1], ["cat", "dog"], tmp_path / "latent.png", method="pca")
    cat, dog = offsets(figures[0])
    assert cat.tolist() == [[2, 3]]
    assert dog.tolist() == [[0, 1], [4, 5]]
    axes = figures[0].axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["cat", "dog"]
    assert axes.get_title() == "latent codes of 3 examples"
    assert png_size(tmp_path / "latent.png") == (840, 720)


def test_features_of_one_unit_lie_on_a_line(tmp_path, figures):
    latent_map(torch.tensor([[0.5], [0.25]]), [0, 1], ["a", "b"], tmp_path / "latent.png", method="tsne")
    assert np.concatenate(offsets(figures[0])).tolist() == [[0.5, 0], [0.25, 0]]


def test_features_without_classes_are_one_cloud(tmp_path, figures):
    latent_map(torch.rand(7, 2), [], [], tmp_path / "latent.png", method="pca")
    (cloud,) = offsets(figures[0])
    assert len(cloud) == 7
    assert figures[0].axes[0].get_legend() is None


def test_pca_keeps_the_two_directions_of_maximum_variance(tmp_path, figures):
    generator = torch.Generator().manual_seed(0)
    plane = torch.randn(50, 2, generator=generator) * torch.tensor([5.0, 2.0])
    turned, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    latent_map(plane @ turned[:2] + 3, [0] * 50, ["a"], tmp_path / "latent.png", method="pca")
    (found,) = offsets(figures[0])
    between = torch.cdist(plane, plane).numpy()
    assert np.allclose(np.linalg.norm(found[:, None] - found, axis=-1), between, atol=1e-3)
    assert figures[0].axes[0].get_title() == "latent codes of 50 examples, by pca"


def test_tsne_keeps_clusters_together_the_same_every_time(tmp_path, figures):
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(60, 5, generator=generator) * 0.1 + torch.eye(5)[:2].repeat_interleave(30, dim=0) * 10
    for _ in range(2):
        latent_map(points, [0] * 30 + [1] * 30, ["a", "b"], tmp_path / "latent.png", method="tsne")
    first, again = (offsets(figure) for figure in figures)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    a, b = first
    apart = np.linalg.norm(a[:, None] - b, axis=-1)
    near = np.linalg.norm(a - a.mean(axis=0), axis=-1)
    assert apart.min() > near.mean()
    assert figures[0].axes[0].get_title() == "latent codes of 60 examples, by tsne"


@pytest.mark.parametrize("units", [2, 5])
def test_an_unknown_method_is_refused_and_nothing_is_drawn(units, tmp_path):
    with pytest.raises(ValueError, match="latent_map=umap: choose pca or tsne"):
        latent_map(torch.rand(9, units), [0] * 9, ["a"], tmp_path / "latent.png", method="umap")
    assert not list(tmp_path.iterdir())


def test_the_title_names_no_method_where_nothing_was_projected():
    few, enough = torch.randn(4, 3), torch.randn(5, 3)
    assert latent_map(few, [], []).axes[0].get_title() == "latent codes of 4 examples"
    assert latent_map(enough, [], []).axes[0].get_title() == "latent codes of 5 examples, by pca"
