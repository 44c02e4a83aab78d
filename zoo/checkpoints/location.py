"""Find the file of a checkpoint: by a name of the index, a path, or an address on the Hugging Face hub."""

from pathlib import Path

from zoo.checkpoints import hub
from zoo.config import catalogue
from zoo.config.catalogue import index, suggest


def locate(checkpoint: str | Path) -> tuple[Path, str | None]:
    """The file of a checkpoint, and the SHA-256 that the index lists for it (None for a file outside the index).

    Args:
        checkpoint: a name of `zoo.list_checkpoints`, a ``.safetensors`` file, a run folder or
            ``hf://OWNER/NAME@REVISION``, which is downloaded unless it is in the hub's cache.

    Raises:
        FileNotFoundError: no such name, file or repository, or an unfinished run. For an unknown name, the message
            lists similar names, or all names if none is similar.
        ValueError: a damaged download, or huggingface_hub is not installed.
    """
    # Names in the index take precedence over files. No name has a folder in it, so the index is not read for a path.
    is_path = len(Path(checkpoint).parts) > 1
    entry = None if is_path else index().get(str(checkpoint))
    if entry is not None:
        path = catalogue.CHECKPOINTS / entry["file"]
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; fetch it from {entry.get('url', 'the source repository')}")
        return path, entry["sha256"]

    # A repository of the Hugging Face hub.
    if str(checkpoint).startswith(hub.PREFIX):
        return hub.checkpoint_file(str(checkpoint)), None

    # A file, or a run folder with model.safetensors.
    path = Path(checkpoint)
    if path.is_dir():
        if (path / "config.yaml").is_file() and not (path / "model.safetensors").exists():
            raise FileNotFoundError(f"{path}: this run is not finished; finish it with zoo train resume={path}")
        path = path / "model.safetensors"
    if not path.is_file():
        names = sorted(index())
        hint = suggest(str(checkpoint), names) if names else "name a .safetensors file or a run folder"
        raise FileNotFoundError(
            f"no checkpoint {str(checkpoint)!r}: neither a file, nor a run folder, nor a name; {hint}"
        )
    return path, None
