"""Keys of earlier versions and what they are called now, for error messages and for older checkpoints."""

KEYS = {
    "schedule": "order",  # of a stage: joint or layerwise
    "inputs": "input_scaling",  # of a model
    "weights_head": "pretrained_head",  # reset or keep
    "codes": "latent_map",
    "flips": "mirror_average",  # of zoo predict and of Classification
    "labels": "labeled_examples",  # of a dataset
    "grey": "gray",  # of TorchvisionNet
}
VALUES = {"pretrained_head": {"fresh": "reset", "load": "keep"}}
