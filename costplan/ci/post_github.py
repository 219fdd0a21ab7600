"""Comments of a GitHub pull request: GraphQL to find our own (it knows who wrote what), REST for the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from costplan.ci.post import Api, is_ours
from costplan.core.errors import InputError, UnavailableError

_QUERY = """query($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) { pullRequest(number: $number) { comments(first: 100, after: $after) {
    nodes { databaseId body viewerDidAuthor } pageInfo { hasNextPage endCursor } } } } }"""
MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class GitHub:
    """Pull request ``number`` of ``repository`` (owner/name)."""

    api: Api
    graphql: Api
    repository: str
    number: int

    @classmethod
    def from_env(cls, env: Mapping[str, str], number: int) -> GitHub:
        """What a GitHub Actions job knows. Raises InputError for what is missing."""
        token, repository = env.get("GITHUB_TOKEN"), env.get("GITHUB_REPOSITORY", "")
        if not token:
            raise InputError("GITHUB_TOKEN is not set", hint="env: {GITHUB_TOKEN: ${{ github.token }}} and "
                             "permissions: {pull-requests: write}; costplan ci itself needs none")
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}", repository):
            raise InputError("GITHUB_REPOSITORY is not owner/name", hint="it is set in every Actions job")
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json",
                   "X-GitHub-Api-Version": "2022-11-28", "User-Agent": "costplan"}
        return cls(Api(env.get("GITHUB_API_URL", "https://api.github.com"), headers),
                   Api(env.get("GITHUB_GRAPHQL_URL", "https://api.github.com/graphql"), headers), repository, number)

    def own(self) -> list[str]:
        owner, name = self.repository.split("/")
        found, after = [], None
        for _ in range(MOST_PAGES):
            asked = {"owner": owner, "name": name, "number": self.number, "after": after}
            page = self._comments(self.graphql.call("POST", "", {"query": _QUERY, "variables": asked}))
            found += [str(int(n["databaseId"])) for n in page["nodes"] if n["viewerDidAuthor"] and is_ours(n["body"])]
            if not page["pageInfo"]["hasNextPage"]:
                break
            after = page["pageInfo"]["endCursor"]
        return found

    def _comments(self, answer: Any) -> Any:
        try:
            return answer["data"]["repository"]["pullRequest"]["comments"]
        except (KeyError, TypeError):
            raise UnavailableError(f"GitHub shows no pull request {self.number} of {self.repository}",
                                   hint="is the number right, and may the token read pull requests?") from None

    def head(self) -> str:
        return str(self.api.call("GET", f"/repos/{self.repository}/pulls/{self.number}")["head"]["sha"])

    def create(self, body: str) -> str:
        made = self.api.call("POST", f"/repos/{self.repository}/issues/{self.number}/comments", {"body": body})
        return str(made["id"])

    def update(self, comment: str, body: str) -> None:
        self.api.call("PATCH", f"/repos/{self.repository}/issues/comments/{comment}", {"body": body})

    def delete(self, comment: str) -> None:
        self.api.call("DELETE", f"/repos/{self.repository}/issues/comments/{comment}")
