"""The account API: sign in with a link, sign out, create and revoke links and tokens (`/api/auth`, `/api/tokens`)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from keyside.protocol.base import iso
from keyside.protocol.commands import (
    Account,
    Link,
    NewToken,
    Redeem,
    SignIn,
    SignInPage,
    Token,
    TokenPage,
)
from keyside.services.account_store import StoredSignIn, StoredToken
from keyside.services.accounts import Identity
from keyside.web.auth import Authenticator
from keyside.web.http.errors import documented
from keyside.web.http.json_body import JsonRoute
from keyside.web.http.parameters import PathId

MAX_AGENT = 300


def account_router(authenticator: Authenticator) -> APIRouter:
    """The routes of the account API."""
    router = APIRouter(prefix="/api", tags=["account"], route_class=JsonRoute)
    _add_sign_in(router, authenticator)
    _add_links(router, authenticator)
    _add_tokens(router, authenticator)
    return router


def _add_sign_in(router: APIRouter, authenticator: Authenticator) -> None:
    accounts = authenticator.accounts
    Anyone = Annotated[Identity, Depends(authenticator.current())]  # noqa: N806

    @router.post("/auth/redeem", responses=documented("bad_request", "link_invalid", "bad_origin", "too_many_attempts"))
    async def redeem(body: Redeem, request: Request, response: Response) -> Account:
        """Signs this browser in with the code of a one-time link, and sets a cookie."""
        authenticator.check_origin(request.headers)
        agent = request.headers.get("user-agent", "")[:MAX_AGENT]
        address = request.client.host if request.client else ""
        sign_in_id, identity = await accounts.redeem(body.code, agent, address)
        await authenticator.sign_in(response, sign_in_id)
        return Account(id=identity.user_id, name=identity.name, auth=authenticator.mode)

    @router.get("/auth/me", responses=documented("unauthorized"))
    async def me(identity: Anyone) -> Account:
        """The account of the caller."""
        return Account(id=identity.user_id, name=identity.name, auth=authenticator.mode)

    @router.post("/auth/logout", status_code=204, responses=documented("unauthorized", "bad_origin"))
    async def logout(identity: Anyone, response: Response) -> None:
        """Signs this browser out and deletes its cookie."""
        if identity.kind == "session" and identity.credential_id:
            await accounts.revoke_sign_in(identity.user_id, identity.credential_id)
        authenticator.sign_out(response)


def _add_links(router: APIRouter, authenticator: Authenticator) -> None:
    accounts = authenticator.accounts
    Person = Annotated[Identity, Depends(authenticator.current("account"))]  # noqa: N806
    refusals = ("unauthorized", "forbidden", "bad_origin")

    @router.post("/auth/links", status_code=201, responses=documented(*refusals))
    async def new_link(identity: Person) -> Link:
        """Creates a one-time link that signs another browser in to the same account."""
        link = await accounts.new_link(identity.user_id)
        return Link(url=f"{authenticator.origins.public}/#{link.code}", expires_at=iso(link.expires_at))

    @router.get("/auth/sessions", responses=documented("unauthorized", "forbidden"))
    async def sign_ins(identity: Person) -> SignInPage:
        """All browsers that are signed in, newest first."""
        found = await accounts.sign_ins(identity.user_id)
        return SignInPage(items=[_sign_in(one, identity) for one in found])

    @router.delete("/auth/sessions/{id}", status_code=204, responses=documented(*refusals, "not_found"))
    async def revoke_sign_in(id: PathId, identity: Person) -> None:
        """Signs a browser out."""
        await accounts.revoke_sign_in(identity.user_id, id)


def _add_tokens(router: APIRouter, authenticator: Authenticator) -> None:
    accounts = authenticator.accounts
    Person = Annotated[Identity, Depends(authenticator.current("account"))]  # noqa: N806
    refusals = ("unauthorized", "forbidden", "bad_origin")

    @router.get("/tokens", responses=documented("unauthorized", "forbidden"))
    async def tokens(identity: Person) -> TokenPage:
        """All tokens, newest first. The secret tokens themselves are not shown."""
        found = await accounts.tokens(identity.user_id)
        return TokenPage(items=[_token(one) for one in found])

    @router.post("/tokens", status_code=201, responses=documented("bad_request", *refusals))
    async def new_token(body: NewToken, identity: Person) -> Token:
        """Creates a token. Only this answer shows the secret token itself."""
        stored, token = await accounts.new_token(identity.user_id, body.name, body.scopes)
        return _token(stored, token)

    @router.delete("/tokens/{id}", status_code=204, responses=documented(*refusals, "not_found"))
    async def revoke_token(id: PathId, identity: Person) -> None:
        """Revokes a token."""
        await accounts.revoke_token(identity.user_id, id)


def _sign_in(stored: StoredSignIn, asking: Identity) -> SignIn:
    current = stored.id == asking.credential_id
    return SignIn(id=stored.id, agent=stored.agent, current=current, created_at=iso(stored.created_at))


def _token(stored: StoredToken, token: str | None = None) -> Token:
    return Token.model_validate(
        {
            "id": stored.id,
            "name": stored.name,
            "scopes": sorted(stored.scopes),
            "created_at": iso(stored.created_at),
            "token": token,
        }
    )
