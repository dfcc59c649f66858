"""The account API: sign in with a link, sign out, create and revoke links and tokens (`/api/auth`, `/api/tokens`)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from keyside.protocol.base import iso
from keyside.protocol.commands import (
    Account,
    Link,
    LinkCode,
    LinkOwner,
    NewToken,
    SignIn,
    SignInPage,
    Token,
    TokenPage,
)
from keyside.services.account_store import StoredSignIn, StoredToken
from keyside.services.accounts import Identity
from keyside.web.auth import Authenticator
from keyside.web.client_address import ClientAddress
from keyside.web.http.errors import documented
from keyside.web.http.json_body import JsonRoute
from keyside.web.http.parameters import PathId

MAX_AGENT = 300


def account_router(authenticator: Authenticator, address: ClientAddress) -> APIRouter:
    """The routes of the account API."""
    router = APIRouter(prefix="/api", tags=["account"], route_class=JsonRoute)
    _add_sign_in(router, authenticator, address)
    _add_session(router, authenticator)
    _add_links(router, authenticator)
    _add_tokens(router, authenticator)
    return router


def _add_sign_in(router: APIRouter, authenticator: Authenticator, address: ClientAddress) -> None:
    accounts = authenticator.accounts
    refusals = documented("bad_request", "link_invalid", "bad_origin", "too_many_attempts")

    @router.post("/auth/links/check", responses=refusals)
    async def check(body: LinkCode, request: Request) -> LinkOwner:
        """Whose account a one-time link signs in to, and who is signed in now. The link stays good."""
        authenticator.check_origin(request.headers)
        owner = await accounts.link_owner(body.code, address.of(request.scope))
        now = await authenticator.signed_in(request.headers)
        return LinkOwner(id=owner.id, name=owner.name, signed_in=_account(now) if now else None)

    @router.post("/auth/redeem", responses=refusals)
    async def redeem(body: LinkCode, request: Request, response: Response) -> Account:
        """Signs this browser in with the code of a one-time link, and sets a cookie. An older sign-in of it ends."""
        authenticator.check_origin(request.headers)
        agent = request.headers.get("user-agent", "")[:MAX_AGENT]
        before = await authenticator.signed_in(request.headers)
        made = await accounts.redeem(body.code, agent, address.of(request.scope), before)
        authenticator.sign_in(response, made.value)
        return _account(made.identity)


def _add_session(router: APIRouter, authenticator: Authenticator) -> None:
    accounts = authenticator.accounts
    Anyone = Annotated[Identity, Depends(authenticator.current())]  # noqa: N806

    @router.get("/auth/me", responses=documented("unauthorized"))
    async def me(identity: Anyone) -> Account:
        """The account of the caller."""
        return _account(identity)

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
        return Link(url=link.url(authenticator.origins.public), expires_at=iso(link.expires_at))

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

    @router.post("/tokens", status_code=201, responses=documented("bad_request", "conflict", *refusals))
    async def new_token(body: NewToken, identity: Person) -> Token:
        """Creates a token. Only this answer shows the secret token itself. None is made for shared executors."""
        stored, token = await accounts.new_token(identity.user_id, body.name, body.scopes)
        return _token(stored, token)

    @router.delete("/tokens/{id}", status_code=204, responses=documented(*refusals, "not_found"))
    async def revoke_token(id: PathId, identity: Person) -> None:
        """Revokes a token."""
        await accounts.revoke_token(identity.user_id, id)


def _account(identity: Identity) -> Account:
    return Account(id=identity.user_id, name=identity.name, auth="off" if identity.kind == "off" else "local")


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
