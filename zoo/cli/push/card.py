"""The model card of a published checkpoint: README.md with the metadata that the Hugging Face hub reads.

A checkpoint of the zoo has its own card in ``checkpoints/``; that of any other is written from its description.
"""

from typing import Any

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.config import catalogue, trust
from zoo.losses import REGRESSION
from zoo.protocols import shape_text

LIBRARY = "reference-zoo"
# The file must not end the table or the code that a text of the checkpoint stands in.
ESCAPED = str.maketrans({"|": r"\|", "\n": " ", "`": "'"})


def card(checkpoint: str, about: CheckpointInfo, address: str, license: str | None) -> str:
    """The card in Markdown, with a YAML block of metadata.

    Args:
        checkpoint: as given by the user.
        about: its description.
        address: ``hf://OWNER/NAME``, under which it is published.
        license: license of the weights; None: not named.
    """
    shipped = catalogue.CHECKPOINTS / f"{checkpoint}.md"
    if checkpoint in catalogue.index() and shipped.is_file():
        body = shipped.read_text(encoding="utf-8").rstrip() + "\n"
    else:
        body = _body(about)
    return f"---\n{_metadata(about, address, license)}\n---\n\n{body}\n{_use(about, address)}"


def _metadata(about: CheckpointInfo, address: str, license: str | None) -> str:
    """The YAML block: library, license, task, and the metrics on the test split."""
    from huggingface_hub import EvalResult, ModelCardData

    # Only classifiers of images have a task that the hub knows.
    shape = about.transforms().shape
    is_of_images = bool(about.classes) and len(shape) == 3 and shape[0] in (1, 3)
    task = "image-classification" if is_of_images else "other"
    results = [
        EvalResult(
            task_type=task,
            dataset_type=about.dataset or "unknown",
            dataset_name=about.dataset or "unknown",
            dataset_split="test",
            metric_type=name.removeprefix("test/"),
            metric_value=value,
        )
        for name, value in sorted(about.metrics.items())
        if name.startswith("test/")
    ]
    fields: dict[str, Any] = {
        "license": license,
        "library_name": LIBRARY,
        "tags": ["pytorch", LIBRARY, about.name],
        "pipeline_tag": task if is_of_images else None,
    }
    # The index of the hub takes results only with the name of a model.
    if results:
        fields |= {"model_name": address.rpartition("/")[2], "eval_results": results}
    return str(ModelCardData(**fields))


def _body(about: CheckpointInfo) -> str:
    """What a checkpoint says of itself: model, metrics, data, training and limits."""
    # The model, as its YAML describes it, if it is one of the zoo.
    known = catalogue.model_config(about.name).get("about", {}) if about.name in catalogue.list_models() else {}
    lines = [f"# {_plain(about.title)} on {_plain(about.dataset or 'data of its author')}", ""]
    if known:
        lines += [f"{known['title']}. {known['paper']}.", ""]
    kind, arguments = _call(about.net)
    lines += [f"**Net.** `{kind}({arguments})`, {about.num_params:,} parameters.", ""]
    if known.get("deviations"):
        lines += ["**Deviations from the paper**", "", *(f"- {each}" for each in known["deviations"]), ""]

    # The metrics of the saved net.
    if about.metrics:
        lines += ["| metric | value |", "|---|---|"]
        lines += [f"| {_plain(name)} | {value:.4f} |" for name, value in sorted(about.metrics.items())]
        lines.append("")

    # The data and the training.
    preprocess = about.transforms()
    data = f"**Data.** {_plain(about.dataset or 'unknown')}; license: {_plain(about.license or 'unknown')}. "
    lines += [data + f"Inputs are {shape_text(preprocess.shape)}.", ""]
    versions = ", ".join(f"{package} {version}" for package, version in sorted(about.versions.items()))
    lines += [f"**Training.** `{_plain(about.command)}`; {_plain(versions)}.", ""]
    if about.classes:
        names = ", ".join(map(_plain, about.classes[:20])) + (", …" if len(about.classes) > 20 else "")
        lines += [f"**Limits.** Always predicts one of {len(about.classes)} classes: {names}.", ""]
    elif about.task.get("loss") in REGRESSION:
        lines += ["**Limits.** Predicts values; not tested on other data.", ""]
    return "\n".join(lines)


def _use(about: CheckpointInfo, address: str) -> str:
    """How to load it, with the packages that the user must trust."""
    target = about.net.get("_target_")
    package = str(target).partition(".")[0]
    granted = f'zoo.trust("{package}")\n' if trust.is_path(target) and package != "zoo" else ""
    return (
        f"## Use\n\n```bash\npip install '{LIBRARY}[hub]'\n```\n\n```python\nimport zoo\n\n{granted}"
        f'net = zoo.load("{address}")\npreprocess = zoo.info("{address}").transforms()\n```\n'
    )


def _call(net: dict[str, Any]) -> tuple[str, str]:
    """The class of a net, and its arguments as Python writes them."""
    kind = str(net["_target_"]).rpartition(".")[2]
    return kind, _plain(", ".join(f"{key}={value!r}" for key, value in net.items() if key != "_target_"))


def _plain(text: str) -> str:
    """A text of a checkpoint, for one line of Markdown."""
    return text.translate(ESCAPED)
