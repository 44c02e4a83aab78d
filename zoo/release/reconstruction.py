"""Latent codes of 30 numbers: the deep autoencoder, the same net without pretraining, and principal components (PCA).

    python -m zoo.release.reconstruction RECIPE         # PCA of its training images
    python -m zoo.release.reconstruction RECIPE SWEEP   # and the twins: a sweep over seeds of
                                                        # zoo train experiment=RECIPE model.stages.pretrain.epochs=0

The results are stored in ``checkpoints/reconstruction.yaml``; `zoo.release.results` writes them into RESULTS.md, beside
those of the recipe in the index. A twin has the settings of its recipe in everything but the pretraining; they were
chosen for the pretrained net. May import config, data, checkpoints and the other files of this folder.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from zoo.checkpoints import files
from zoo.config import catalogue
from zoo.config.build import build
from zoo.config.compose import compose
from zoo.release import claims, figure, images, intervals, protocol, publish, tables
from zoo.release.claims import SECONDARY
from zoo.release.intervals import Images

METRIC = "squared_error_per_image"
COMPONENTS = 30  # number of values of the latent code of the deep autoencoder
RECIPES = {
    "mnist": ("deep_autoencoder-mnist-plain", "deep_autoencoder-mnist"),
    "fashion_mnist": ("deep_autoencoder-fashion_mnist",),
}
WITHOUT = "model.stages.pretrain.epochs=0"
# Squared error of PCA with 30 components (Hinton & Salakhutdinov 2006, caption of figure 2B).
PUBLISHED = {"mnist": 13.87}


def stored() -> dict[str, dict[str, Any]]:
    """The stored results: name of a recipe -> ``pca`` and, if there are any, ``twin``."""
    path = _path()
    return yaml.safe_load(path.read_text()) if path.is_file() else {}


def _path() -> Path:
    return catalogue.CHECKPOINTS / "reconstruction.yaml"


def section(entries: Mapping[str, Mapping[str, Any]], results: Mapping[str, Mapping[str, Any]]) -> str:
    """The section of RESULTS.md; empty if nothing is stored.

    Args:
        entries: entries of the index with a claim.
        results: as `stored` returns them.
    """
    rows = []
    for dataset, recipes in RECIPES.items():
        found = next((results[name]["pca"] for name in recipes if name in results), None)
        if found is None:
            continue
        # The pretrained nets of the index with their twins, then PCA.
        for name in recipes:
            if name in entries:
                entry = entries[name]
                claim = claims.parse(entry["claim"])
                row = _row(dataset, f"[{name}](checkpoints/{name}.md)", entry["values"], claim.interval(entry))
                rows.append(row | {"published": claim.published_text(claim.published)})
            if "twin" in results.get(name, {}):
                twin = results[name]["twin"]
                limits = intervals.of_seeds(twin["values"], Images(**twin["images"]))
                rows.append(_row(dataset, f"{name}, not pretrained", twin["values"], limits))
        limits = intervals.of_images(found["value"], Images(**found["images"]))
        row = _row(dataset, f"PCA, {COMPONENTS} components", [found["value"]], limits)
        published = PUBLISHED.get(dataset)
        rows.append(row | {"published": f"{published:.2f}{SECONDARY}" if published else claims.NOTHING})
    return protocol.CODES + "\n".join([*tables.markdown(rows), ""]) if rows else ""


def _row(dataset: str, code: str, values: list[float], limits: tuple[float, float] | None) -> dict[str, str]:
    claim = claims.Claim(METRIC, 0.0, None, None)  # for the number of decimal places
    return {
        "dataset": figure.TITLES[dataset],
        "30 numbers from": code,
        "squared error per test image": claim.spread(values),
        "95 % interval": claim.interval_text(limits),
        "seeds": str(len(values)) if len(values) > 1 else claims.NOTHING,
        "published": claims.NOTHING,
    }


def pca(train: Any, test: Any, components: int = COMPONENTS) -> Any:
    """The squared errors of test images, reconstructed from their principal components.

    Args:
        train: N x V, the images from which mean and components are computed; any floating-point type.
        test: M x V.
        components: number of components.

    Returns:
        M, summed over the pixels, float64.
    """
    import torch

    # The components are the eigenvectors of the covariance matrix with the largest eigenvalues; eigh sorts upwards.
    center = train.double().mean(dim=0)  # V
    centered = train.double() - center  # N x V
    _, vectors = torch.linalg.eigh(centered.T @ centered)
    basis = vectors[:, -components:]  # V x components
    rest = test.double() - center
    return (rest - rest @ basis @ basis.T).square().sum(dim=1)


def measure_pca(name: str) -> dict[str, Any]:
    """The mean squared error of PCA on the data of a recipe, and its spread over the test images."""
    # All training images, as in the final runs of a recipe; pixels in [0, 1], as the autoencoder sees them.
    node = compose("train", [f"experiment={name}", "dataset.validation=0"]).dataset
    splits = build(OmegaConf.create(OmegaConf.to_container(node, resolve=True)).source, where="dataset.source")
    train, test = (split.x.flatten(1).double() / 255 for split in (splits.train, splits.test))
    errors = pca(train, test)
    spread = {"count": len(errors), "std": round(float(errors.std()), 4)}
    return {"value": round(float(errors.mean()), 4), "images": spread}


def measure_twin(name: str, sweep: Path) -> dict[str, Any]:
    """The squared errors of the runs of a sweep without pretraining.

    Raises:
        ValueError: the runs are not those of the recipe without pretraining.
    """
    runs, config = publish.finished_runs(sweep)
    expected: Any = OmegaConf.to_container(compose("train", [f"experiment={name}", WITHOUT]), resolve=False)
    for key in ("net", "stages"):
        _check_same(config["model"][key], expected["model"][key], f"{sweep}: model.{key}", name)
    for key in ("name", "validation", "augment"):
        _check_same(config["dataset"][key], expected["dataset"][key], f"{sweep}: dataset.{key}", name)

    seeds = sorted(runs)
    claim = claims.Claim(METRIC, 0.0, None, None)
    values = [round(claim.value(publish.metrics_of(runs[seed])), 4) for seed in seeds]
    return {"seeds": seeds, "values": values, "images": images.measure(runs[seeds[0]], METRIC, config["dataset"])}


def _check_same(ours: Any, expected: Any, where: str, name: str) -> None:
    """Raise ValueError unless two parts of a config are equal, apart from references of the recipe's."""
    if isinstance(expected, Mapping) and isinstance(ours, Mapping):
        for key in expected:
            _check_same(ours.get(key), expected[key], f"{where}.{key}", name)
    elif ours != expected and not (isinstance(expected, str) and "${" in expected):
        raise ValueError(f"{where}={ours}, but {expected} in zoo train experiment={name} {WITHOUT}")


def main(name: str, sweep: Path | None = None) -> None:
    """Measure PCA and, if a sweep is given, the twins, and store the results."""
    if not any(name in recipes for recipes in RECIPES.values()):
        sys.exit(f"{name}: choose one of {', '.join(known for recipes in RECIPES.values() for known in recipes)}")
    results = stored()
    results[name] = results.get(name, {}) | {"pca": measure_pca(name)}
    if sweep is not None:
        results[name]["twin"] = measure_twin(name, sweep)
    with files.replacing(_path()) as temporary:
        temporary.write_text(yaml.safe_dump(results, sort_keys=True))
    sys.stdout.write(f"{name}: {results[name]}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None)
