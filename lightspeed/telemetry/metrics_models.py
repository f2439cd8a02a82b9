"""Which models there are."""

from collections.abc import Iterable
from typing import Any

from prometheus_client.core import GaugeMetricFamily


class ModelsCollector:
    """Tells of the models that this process knows; several workers of one service know the same."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], int] = {}

    def replace(self, models: Iterable[tuple[str, str]], default: tuple[str, str] | None) -> None:
        """All models as (provider, model); 1 marks the default one."""
        self._models = {model: int(model == default) for model in models}

    def collect(self) -> Iterable[Any]:
        family = GaugeMetricFamily(
            "ls_provider_model_configuration",
            "Models of the providers; 1 marks the default model.",
            labels=("provider", "model"),
        )
        for model, value in self._models.items():
            family.add_metric(model, value)
        yield family
