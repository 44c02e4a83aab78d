"""``python -m zoo.cli COMMAND …``, for launchers such as torchrun."""

from zoo.cli.main import main

if __name__ == "__main__":
    # Lightning starts the other processes of a run by the name in ``__spec__``, with the arguments after COMMAND alone;
    # without a name, by the file of the command.
    __spec__ = None
    main()
