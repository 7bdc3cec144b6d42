from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from parfocal_inference.memory_metrics import ModelMemory
from parfocal_runtime.models.footprint import Footprint


def test_the_memory_of_each_model_is_told_by_kind() -> None:
    registry = CollectorRegistry()
    registry.register(ModelMemory(lambda: {("base", 2): Footprint(weights=10, activations=300)}))

    text = generate_latest(registry).decode()

    for kind, taken in (("weights", "10.0"), ("activations", "300.0")):
        sample = f'parfocal_model_memory_bytes{{kind="{kind}",model="base",version="2"}} {taken}'
        assert sample in text
