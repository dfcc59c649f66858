"""How the services of a server begin and end."""

from keyside.services.background import Background
from keyside.services.dispatcher import Dispatcher
from keyside.services.executors import Executors
from keyside.services.ports import Store
from keyside.services.requests import RunRequests
from keyside.services.runs import Runs


class Lifecycle:
    """Starts and stops the services, in the order that nothing is lost in."""

    def __init__(
        self,
        store: Store,
        runs: Runs,
        executors: Executors,
        dispatcher: Dispatcher,
        requests: RunRequests,
        background: Background,
    ) -> None:
        self._store = store
        self._runs = runs
        self._executors = executors
        self._dispatcher = dispatcher
        self._requests = requests
        self._background = background

    async def start(self) -> None:
        """Opens the store, takes over what was left unfinished, and begins to hand out runs."""
        await self._store.start()
        await self._executors.start()
        self._background.start()

    def close_doors(self) -> None:
        """Takes no new run from now on, and hands none out."""
        self._requests.close()
        self._dispatcher.close()

    async def stop(self) -> None:
        """Ends the tasks, leaves the runs in hand to the next process, and closes the store."""
        await self._background.stop()
        await self._runs.leave()
        await self._store.stop()
