"""The sweeper of the zoo's searches: Hydra accepts sweepers only from the namespace package ``hydra_plugins``.

Hydra imports this module whenever it starts, so it imports nothing slow.
"""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Searches for the best values of some keys with Optuna; ``conf/hydra/sweeper/optuna.yaml`` describes the settings.

    The work is done by `zoo.training.sweeps.search.Search`.
    """

    def __init__(self, **settings: Any):
        self.settings = settings

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.composed = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from zoo.training.sweeps.search import Search
        from zoo.training.sweeps.search_settings import SearchSettings

        # Parsed here, since Hydra would reword an error of the constructor.
        return Search(SearchSettings.parse(self.settings), self.composed, self.launcher).run(arguments)
