"""``python -m zoo.cli COMMAND …``, for launchers such as torchrun."""

from zoo.cli.main import main

main()
