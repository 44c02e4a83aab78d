"""``zoo VERB …``: the command line. Every error a user can cause ends as one message and exit status 1.

Imports next to nothing, so that ``zoo list`` answers at once; a verb's module is imported when it is called for.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from zoo.config.catalogue import suggest

HELP = """\
zoo - a reference zoo of the classic deep-learning models

  zoo train      model=lenet5 dataset=digits [epochs= batch_size= lr= seed= accelerator= resume=RUN]
  zoo evaluate   checkpoint=NAME|PATH [dataset=NAME]
  zoo predict    checkpoint=NAME|PATH input=FILE|FOLDER|CSV|NPZ output=predictions.csv
  zoo explain    checkpoint=NAME|PATH input=FILE|FOLDER output=explained.png [target=CLASS]
  zoo sample     checkpoint=NAME|PATH n=100 output=samples.png [labels=CLASS]
  zoo export     checkpoint=NAME|PATH format=onnx|torch_export [output=FILE]
  zoo list       [PATTERN]       models and checkpoints
  zoo show       NAME            a model card: layers, shapes, parameters, paper, deviations
  zoo reproduce  NAME|all [--train]   do the shipped checkpoints give the numbers in the index?

All but the last three take Hydra overrides (KEY=VALUE) and flags: --cfg job prints the config, --config-dir adds a
folder of your own, -m sweeps over comma-separated values. debug=true shows where an error came up.
"""
HYDRA_VERBS = ("train", "evaluate", "predict", "explain", "sample", "export")
PLAIN_VERBS = ("list", "show", "reproduce")


def main(verb: str | None = None, arguments: Sequence[str] | None = None) -> None:
    """Run a verb; without arguments, that of the command line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if verb is None:
        if not words or words[0] in ("-h", "--help", "help"):
            sys.stdout.write(HELP)
            return
        verb = words.pop(0)
    try:
        if verb in HYDRA_VERBS:
            _check_words(words)
            job = getattr(import_module(f"zoo.cli.{verb}"), verb)
            import_module("zoo.config.compose").launch(verb, job, words)
        else:
            run(verb, words)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if "debug=true" in [word.lower() for word in words]:
            traceback.print_exc()
        else:
            sys.stderr.write(f"zoo {verb}: {message(error)}\n")
        sys.exit(getattr(error, "status", 1))


def run(verb: str, words: Sequence[str]) -> None:
    """Run a verb with its words; errors go to the caller."""
    if verb in PLAIN_VERBS:
        import_module(f"zoo.cli.{'list_models' if verb == 'list' else verb}").main(words)
    elif verb in HYDRA_VERBS:
        _check_words(words)
        job = getattr(import_module(f"zoo.cli.{verb}"), verb)
        import_module("zoo.config.compose").launch(verb, job, words)
    else:
        raise ValueError(f"no such verb; {suggest(verb, [*HYDRA_VERBS, *PLAIN_VERBS])}")


def _check_words(words: Sequence[str]) -> None:
    for word in words:
        plain = "=" not in word and not word.startswith(("-", "~")) and not _follows_flag(word, words)
        if plain or word.startswith("="):
            raise ValueError(f"{word!r} is not KEY=VALUE; see zoo --help")


def message(error: BaseException) -> str:
    """What a user needs to know of an error: the key or file, and the way out."""
    kind, text = type(error).__name__, str(error)
    if kind == "MissingConfigException" and getattr(error, "options", None):
        group, _, name = (error.missing_cfg_file or "").rpartition("/")  # type: ignore[attr-defined]
        return f"{group}={name}: no such {group.split('/')[-1]}; {suggest(name, sorted(error.options))}"  # type: ignore[attr-defined]
    if kind == "ConfigCompositionException":
        cause = error.__cause__
        return message(cause) if cause and getattr(cause, "full_key", None) else " ".join(text.split())
    if kind == "OverrideParseException":
        return f"{error.override!r} cannot be read: {text.splitlines()[0]}"  # type: ignore[attr-defined]
    if kind in ("ConfigAttributeError", "ConfigKeyError"):
        return _unknown_key(error)
    if kind == "MissingMandatoryValue":
        return f"{getattr(error, 'full_key', '')}= is missing; see zoo --help"
    if hasattr(error, "full_key") and hasattr(error, "msg"):  # OmegaConf: a wrong type, a broken interpolation
        return f"{error.full_key}: {error.msg.splitlines()[0]}" if error.msg else " ".join(text.split())
    if isinstance(error, (ValueError, OSError)) or kind == "Stopped":
        return text
    return f"unexpected {kind}: {text.splitlines()[0] if text else ''} (debug=true shows where)"


def _unknown_key(error: BaseException) -> str:
    """ "Key 'epoks' is not in struct": with the keys that are there."""
    key = str(getattr(error, "full_key", ""))
    parent = getattr(error, "parent_node", None)
    there = [str(name) for name in parent] if parent is not None else []
    return f"{key}: no such key; {suggest(key.rpartition('.')[2], there)}" if there else f"{key}: no such key"


def _follows_flag(word: str, words: Sequence[str]) -> bool:
    place = list(words).index(word)
    return place > 0 and words[place - 1].startswith("-") and "=" not in words[place - 1]


if __name__ == "__main__":
    main()
