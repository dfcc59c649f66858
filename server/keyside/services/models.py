"""The list of models that a user's executors offer."""

from collections.abc import Iterable

from keyside.protocol.entities import Executor, ModelChoice


def models_of(executors: Iterable[Executor]) -> list[ModelChoice]:
    """All models of the executors, once each, those that can run now first."""
    found: dict[str, ModelChoice] = {}
    for executor in executors:
        for connection in executor.connections:
            for model in connection.models:
                id = f"{connection.provider}/{model.id}"
                known = found.get(id)
                found[id] = ModelChoice(
                    id=id,
                    model=model.id,
                    provider=connection.provider,
                    name=model.name or model.id,
                    online=executor.online or (known is not None and known.online),
                    executors=[*(known.executors if known else []), executor.id],
                )
    return sorted(found.values(), key=lambda choice: not choice.online)
