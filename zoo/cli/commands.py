"""The list of commands of ``zoo``, read by the dispatcher, the help pages and the tests.

Imports the standard library only, so that ``zoo --help`` is fast.
"""

from dataclasses import dataclass

SPLITS = ("train", "validation", "test", "all")  # the values of ``split=``


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        summary: what it does, in one phrase; a line of ``zoo --help``.
        usage: its arguments, as ``zoo COMMAND --help`` shows them.
        module: the module of `zoo.cli` that implements it.
        function: the function of that module that does the work. With ``composed`` it takes the composed config,
            otherwise the list of arguments.
        composed: whether its arguments are Hydra overrides (KEY=VALUE) of ``conf/COMMAND.yaml``.
        examples: examples in its help, one string of arguments per example.
        notes: paragraphs at the end of its help.
    """

    summary: str
    usage: str
    module: str
    function: str
    composed: bool
    examples: tuple[str, ...]
    notes: tuple[str, ...] = ()


COMMANDS = {
    "train": Command(
        summary="train a model on a dataset",
        usage="[model=NAME] [dataset=NAME] [accelerator=NAME] [experiment=NAME] [KEY=VALUE ...]",
        module="train",
        function="train",
        composed=True,
        examples=(
            "model=lenet5 dataset=digits epochs=5",
            "model=mlp dataset=mnist lr=0.001 model.net.hidden=[256,128]",
            "experiment=finetune dataset.root=my_photos",
            "-m model=lenet5,mlp seed=1,2,3",
            "hparams_search=mlp dataset=digits",
            "resume=runs/my_run",
        ),
        notes=(
            "A model is trained in one or more stages, such as fit, or pretrain and finetune. "
            "model.stages.STAGE.KEY=VALUE sets a key of one stage; ~model.stages.STAGE removes the stage. "
            "zoo train model=NAME --cfg job prints all keys of a model, its stages and the dataset.",
        ),
    ),
    "evaluate": Command(
        summary="evaluate a checkpoint on a split of a dataset",
        usage="checkpoint=NAME|PATH [dataset=NAME] [KEY=VALUE ...]",
        module="evaluate.command",
        function="evaluate",
        composed=True,
        examples=(
            "checkpoint=lenet5-digits",
            "checkpoint=runs/my_run split=validation output=metrics.json",
            "checkpoint=runs/my_run dataset.root=other_photos",
        ),
    ),
    "predict": Command(
        summary="apply a checkpoint to images, a CSV of pixels or an .npz file",
        usage="checkpoint=NAME|PATH input=FILE|FOLDER|CSV|NPZ [KEY=VALUE ...]",
        module="predict.command",
        function="predict",
        composed=True,
        examples=(
            "checkpoint=lenet5-mnist input=photos resize=true",
            "checkpoint=lenet5-mnist input=test.csv output=submission.csv",
        ),
    ),
    "explain": Command(
        summary="show which regions of an image support a class (Grad-CAM)",
        usage="checkpoint=NAME|PATH input=FILE|FOLDER [KEY=VALUE ...]",
        module="explain",
        function="explain",
        composed=True,
        examples=("checkpoint=lenet5-mnist input=photos", "checkpoint=lenet5-mnist input=seven.png target=1"),
    ),
    "sample": Command(
        summary="draw samples from a generative checkpoint (RBM, DBN)",
        usage="checkpoint=NAME|PATH [KEY=VALUE ...]",
        module="sample",
        function="sample",
        composed=True,
        examples=("checkpoint=rbm-mnist n=50", "checkpoint=dbn_generative-mnist labels=[3,5] output=samples.npz"),
    ),
    "export": Command(
        summary="write a checkpoint as an ONNX file or a torch.export program",
        usage="checkpoint=NAME|PATH [format=onnx|torch_export] [KEY=VALUE ...]",
        module="export.command",
        function="export",
        composed=True,
        examples=(
            "checkpoint=lenet5-mnist",
            "checkpoint=lenet5-mnist format=torch_export preprocess=true",
            "checkpoint=runs/my_run quantize=int8 output=int8.onnx",
        ),
    ),
    "benchmark": Command(
        summary="measure latency and throughput of a checkpoint in PyTorch and ONNX Runtime",
        usage="checkpoint=NAME|PATH [KEY=VALUE ...]",
        module="benchmark.command",
        function="benchmark",
        composed=True,
        examples=(
            "checkpoint=lenet5-mnist accelerator=cpu",
            "checkpoint=runs/my_run batch_sizes=[1,16] output=speed.csv",
        ),
    ),
    "push": Command(
        summary="publish a checkpoint on the Hugging Face hub",
        usage="checkpoint=NAME|PATH to=hf://OWNER/NAME [KEY=VALUE ...]",
        module="push.command",
        function="push",
        composed=True,
        examples=(
            "checkpoint=lenet5-digits to=hf://me/lenet5-digits dry_run=true",
            "checkpoint=runs/my_run to=hf://me/photos private=true license=mit",
        ),
    ),
    "embed": Command(
        summary="write the features of images, a CSV, an .npz or a dataset to a file",
        usage="checkpoint=NAME|PATH (input=FILE|FOLDER|CSV|NPZ | dataset=NAME) [KEY=VALUE ...]",
        module="embed.command",
        function="embed",
        composed=True,
        examples=(
            "checkpoint=lenet5-mnist input=photos resize=true",
            "checkpoint=lenet5-digits dataset=digits output=digits.parquet",
            "checkpoint=lenet5-mnist input=photos neighbors=5 duplicates=true",
            "checkpoint=rbm-mnist input=test.csv depth=[0,1]",
        ),
        notes=(
            "The output has one row per input, in the order of the input, with these arrays or columns. name: the "
            "path of an image, the number of a row, or SPLIT/INDEX of a dataset. split: only for a dataset. label: "
            "the class folder in the path, the value of the column 'label' in a CSV of pixels, the class in the array"
            " y, or the class in a dataset. target, in place of label: real values or several values per input (N x "
            "targets), from y or from a dataset. features: N x D; maps are flattened. With a list of several depths "
            "there is one features_DEPTH for each, from one pass.",
        ),
    ),
    "demo": Command(
        summary="draw on a page in the browser, and see what the nets make of it",
        usage="[checkpoint=NAME|PATH] [port=7860] [KEY=VALUE ...]",
        module="demo",
        function="demo",
        composed=True,
        examples=("", "checkpoint=dbn_generative-mnist", "checkpoint=runs/my_run port=0 open_browser=true"),
    ),
    "list": Command(
        summary="list the models and the checkpoints",
        usage="[PATTERN] [--json]",
        module="list_models",
        function="main",
        composed=False,
        examples=("", "'lenet*'", "--json"),
        notes=(
            "PATTERN is part of a name, or a pattern with * and ?. Without it, everything is listed. --json prints a "
            "JSON object with the lists models and checkpoints.",
        ),
    ),
    "show": Command(
        summary="show a model (layers, shapes, paper, deviations) or a checkpoint",
        usage="NAME|PATH [--json]",
        module="show",
        function="main",
        composed=False,
        examples=("lenet5", "lenet5-digits", "runs/my_run --json"),
        notes=(
            "NAME is a model or a checkpoint from zoo list; PATH is a .safetensors file, a run folder or "
            "hf://OWNER/NAME. --json prints a JSON object.",
        ),
    ),
    "completion": Command(
        summary="print a script that completes commands, keys and names in a shell",
        usage="bash|zsh|fish",
        module="completion.command",
        function="main",
        composed=False,
        examples=("bash", "zsh", "fish"),
        notes=(
            'To turn completion on, add a line to the configuration of the shell. bash: eval "$(zoo completion bash)" '
            'in ~/.bashrc. zsh: eval "$(zoo completion zsh)" in ~/.zshrc, after compinit. fish: zoo completion fish | '
            "source in ~/.config/fish/config.fish.",
            "It completes commands, flags and keys; the names of models, datasets, recipes, checkpoints and the files "
            "of all other groups; true and false; and the names of splits. The values of other keys are completed as "
            "paths.",
        ),
    ),
    "reproduce": Command(
        summary="compare shipped checkpoints with their stored metrics",
        usage="NAME|all [--train]",
        module="reproduce",
        function="main",
        composed=False,
        examples=("lenet5-digits", "lenet5-mnist --train"),
        notes=(
            "Evaluates the checkpoint and compares the metrics with those in checkpoints/index.yaml. With --train, the "
            "recipe of the checkpoint is trained first, and the new weights are evaluated; zoo reproduce all --train "
            "skips checkpoints without a recipe. If a checkpoint fails, the others are still compared, and the exit "
            "status is 1.",
        ),
    ),
}
