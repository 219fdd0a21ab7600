"""Putting the comment on a pull or merge request: found again by its marker, updated in place, only ever our own."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from typing import IO, Any, Protocol

from costplan.ci.comment import MARKER
from costplan.core.errors import InputError, UnavailableError

TIMEOUT_S = 30.0
LARGEST_ANSWER_BYTES = 16 << 20
_FORK = ("a pull request from a fork has a read-only token: post from a second workflow on workflow_run, see "
         "docs/ci.md; the job summary needs no token")


@dataclass(frozen=True, slots=True)
class Posted:
    """What was done: ``created``, ``updated``, ``deleted`` or ``nothing``; ``id`` of the comment."""

    action: str
    id: str | None = None


class Provider(Protocol):
    """A service that holds the comments of one pull or merge request."""

    def own(self) -> list[str]:
        """Ids of the comments with our marker that this token wrote, oldest first."""
        ...

    def head(self) -> str:
        """Id of the newest commit of the request."""
        ...

    def create(self, body: str) -> str:
        """Write a comment; its id."""
        ...

    def update(self, comment: str, body: str) -> None:
        """Replace the text of a comment."""
        ...

    def delete(self, comment: str) -> None:
        """Remove a comment."""
        ...


def post(provider: Provider, body: str, behavior: str, wanted: bool, expect_head: str | None) -> Posted:
    """Bring the request to what ``behavior`` (update, new, delete) asks for.

    Not ``wanted`` (nothing changed): writes nothing new, but an older comment of ours is brought up to date.
    Raises InputError where the request is not at ``expect_head``: the report is of another commit.
    """
    if expect_head is not None and (at := provider.head()) != expect_head:
        raise InputError(f"the request is at {at[:10]}, not at {expect_head[:10]}", where="--expect-head",
                         hint="a newer push has its own report; or the number is not that of this run")
    old = provider.own()
    if behavior == "delete" or (behavior == "new" and wanted):
        for comment in old:
            provider.delete(comment)
    if behavior == "delete":
        return Posted("deleted", old[-1]) if old else Posted("nothing")
    if behavior == "update" and old:
        provider.update(old[0], body)
        return Posted("updated", old[0])
    return Posted("created", provider.create(body)) if wanted else Posted("nothing")


def is_ours(body: object) -> bool:
    """Whether a comment begins with our marker."""
    return isinstance(body, str) and body.startswith(MARKER)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token goes to the address that was given and to no other."""

    def redirect_request(self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage,
                         newurl: str) -> urllib.request.Request | None:
        return None


@dataclass(frozen=True, slots=True)
class Api:
    """JSON over HTTPS with a token in ``headers``."""

    url: str
    headers: Mapping[str, str]

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
        if parts.scheme != "https" and not local:
            raise InputError(f"{self.url[:80]!r} is not an https address", hint="a token is sent over https only")

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One request to ``path`` below the address (or to a whole address). Raises UnavailableError, InputError."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, dict(self.headers), method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S) as answer:
                text = answer.read(LARGEST_ANSWER_BYTES)
            return json.loads(text) if text else None
        except urllib.error.HTTPError as e:
            with e:
                raise _refused(e.code, method, path) from None
        except (OSError, HTTPException, ValueError) as e:
            raise UnavailableError(f"{method} {path}: {getattr(e, 'reason', None) or type(e).__name__}",
                                   hint="is the address of the API right, and the network there?") from None


def _refused(code: int, method: str, path: str) -> UnavailableError | InputError:
    if code in (401, 403):
        return UnavailableError(f"{method} {path}: the token may not do that (HTTP {code})", hint=_FORK)
    if code == 404:
        return InputError(f"{method} {path}: not found (HTTP 404)",
                          hint="is the number that of a request here, and may the token see it?")
    return UnavailableError(f"{method} {path}: HTTP {code}", hint="try again later")
