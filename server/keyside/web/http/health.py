"""The liveness and readiness checks."""

from fastapi import APIRouter, Response

from keyside import __version__
from keyside.services.ports import ChatLog, Unavailable


def health_router(chat_log: ChatLog) -> APIRouter:
    """`/health` and `/health/ready`. Neither needs a sign-in, and neither reveals anything about users."""
    router = APIRouter(tags=["health"])

    @router.get("/health")
    async def health() -> dict[str, str]:
        """Succeeds whenever the process answers."""
        return {"status": "ok", "version": __version__}

    @router.get("/health/ready")
    async def ready(response: Response) -> dict[str, str]:
        """Succeeds if the store can be read; otherwise the status is 503."""
        try:
            await chat_log.heads([0])
        except Unavailable:
            response.status_code = 503
            return {"status": "store_unavailable"}
        return {"status": "ok"}

    return router
