"""``zoo push``: publish a checkpoint and its model card on the Hugging Face hub."""

from pathlib import Path

from omegaconf import DictConfig

from zoo.checkpoints import hub
from zoo.checkpoints.checkpoint import locate, open_checkpoint
from zoo.checkpoints.torchvision_files import sha256_of
from zoo.cli.push.card import card
from zoo.config.catalogue import index
from zoo.config.console import say


def push(cfg: DictConfig) -> str:
    """Upload ``model.safetensors`` and ``README.md`` in one commit, and print the address with the commit.

    Returns:
        ``hf://OWNER/NAME@COMMIT``; with ``dry_run``, ``hf://OWNER/NAME``.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint, a damaged one, a malformed address, or huggingface_hub is not
            installed.
        FileExistsError: the repository has a checkpoint, and ``overwrite`` is off.
        OSError: the hub refuses the upload, or cannot be reached.
    """
    # Verify everything that `zoo.load` verifies, before anything is sent.
    repository, branch = hub.parse(cfg.to, given=f"to={cfg.to}")
    try:
        import huggingface_hub  # noqa: F401 - an optional package
    except ModuleNotFoundError as error:
        raise ValueError(f"zoo push needs {error.name}: pip install 'reference-zoo[hub]'") from error
    _, about = open_checkpoint(cfg.checkpoint)
    path, _ = locate(cfg.checkpoint)
    license = cfg.license or ("mit" if cfg.checkpoint in index() else None)
    address = f"{hub.PREFIX}{repository}"
    text = card(cfg.checkpoint, about, address, license)

    # Say what is uploaded.
    visible = "private" if cfg.private else "public"
    say(f"{path} ({path.stat().st_size:,} bytes, SHA-256 {sha256_of(path)}) -> {hub.WEIGHTS}")
    say(f"model card ({len(text.encode()):,} bytes) -> {hub.CARD}")
    if cfg.dry_run:
        would = f"a repository that does not exist would be created as {visible}"
        say(f"dry run: nothing was uploaded to {cfg.to}; {would}; the model card:")
        for line in text.splitlines():
            say(line)
        return address

    # Upload both files in one commit.
    files: dict[str, Path | bytes] = {hub.WEIGHTS: path, hub.CARD: text.encode()}
    commit = hub.upload(repository, branch, files, private=cfg.private, overwrite=cfg.overwrite, given=f"to={cfg.to}")
    say(f"uploaded to {address}; this version is {address}@{commit}")
    return f"{address}@{commit}"
