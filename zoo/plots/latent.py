"""A map of latent codes: each example as a point in the plane, colored by its class."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.plots.figure import MAX_LETTERS, add_legend, default_style, new_figure, write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

LATENT_MAPS = ("pca", "tsne")
MAX_CLASSES_IN_LEGEND = 20
MIN_POINTS = 5  # a projection of fewer points says nothing


@default_style()
def latent_map(
    features: "Tensor",
    labels: Sequence[int],
    classes: Sequence[str],
    path: str | Path | None = None,
    *,
    method: str = "pca",
) -> "Figure":
    """Draw latent codes in the plane.

    The latent codes are projected to two dimensions. If there are one or two units, fewer than five examples, or only
    identical examples, they are not: the first two units are the coordinates. Latent codes with NaN or Inf are left
    out.

    Args:
        features: N x H.
        labels: N class numbers; empty if there are no classes.
        classes: names of the classes.
        path: the PNG to write.
        method: "pca", or "tsne" (van der Maaten & Hinton 2008), which takes seconds for each thousand points.

    Raises:
        ValueError: an unknown method.
    """
    import numpy as np

    if method not in LATENT_MAPS:
        raise ValueError(f"latent_map={method}: choose {' or '.join(LATENT_MAPS)}")
    x = features.detach().float().cpu().numpy()  # N x H
    # Leave out features that are NaN or Inf.
    finite = np.isfinite(x).all(axis=1)
    x = x[finite]
    points = _to_plane(x, method)[:, :2]  # N x 2

    # Scatter the points of each class in one color; without classes, or with many of them, all in one color.
    figure = new_figure(7, 6, dpi=120, layout="constrained")
    axes = figure.subplots()
    numbers = np.asarray(labels)[finite] if len(labels) else np.zeros(len(points), dtype=int)
    if 0 < len(classes) <= MAX_CLASSES_IN_LEGEND:
        clouds = [points[numbers == k] for k in range(len(classes))]
        drawn = [axes.scatter(x[:, 0], x[:, 1], s=6, alpha=0.7, color=f"C{k % 10}") for k, x in enumerate(clouds)]
        beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
        add_legend(axes, drawn, classes, max_letters=MAX_LETTERS, markerscale=2, **beside)
    else:
        colors = [f"C{k % 10}" for k in numbers]
        axes.scatter(points[:, 0], points[:, 1], s=6, alpha=0.7, color=colors)
    suffix = f", by {method}" if _needs_projection(x) else ""
    axes.set_title(f"latent codes of {len(points):,} examples{suffix}")
    axes.set(xticks=[], yticks=[])
    return write_png(figure, path)


def _to_plane(x: Any, method: str) -> Any:
    """N x H features -> coordinates in the first two columns, as NumPy arrays."""
    import numpy as np
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    # One unit: a line.
    if x.shape[1] == 1:
        return np.hstack([x, np.zeros_like(x)])
    # Two units, or few or identical points: draw the first two units as they are.
    if not _needs_projection(x):
        return x
    # More units: project them.
    if method == "pca":
        return PCA(2).fit_transform(x)
    perplexity = min(30.0, (len(x) - 1) / 3)  # must be below the number of points
    return TSNE(random_state=0, perplexity=perplexity).fit_transform(x)


def _needs_projection(x: Any) -> bool:
    """Whether there are more than two units, and enough different points, N x H, to project them."""
    return bool(x.shape[1] > 2 and len(x) >= MIN_POINTS and x.std(axis=0).any())
