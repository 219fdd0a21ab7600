"""Notes of a GitLab merge request. A job token cannot write notes: a project access token can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from costplan.ci.post import Api, is_ours
from costplan.core.errors import InputError

PAGE = 100
MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class GitLab:
    """Merge request ``number`` of ``project`` (id or path)."""

    api: Api
    project: str
    number: int

    @classmethod
    def from_env(cls, env: Mapping[str, str], number: int) -> GitLab:
        """What a GitLab job knows. Raises InputError for what is missing."""
        token, project = env.get("GITLAB_TOKEN"), env.get("CI_PROJECT_ID")
        if not token:
            raise InputError("GITLAB_TOKEN is not set", hint="make a project access token with scope api a masked "
                                                             "variable; CI_JOB_TOKEN cannot write notes")
        if not project:
            raise InputError("CI_PROJECT_ID is not set", hint="it is set in every GitLab job")
        api = Api(env.get("CI_API_V4_URL", "https://gitlab.com/api/v4"), {"PRIVATE-TOKEN": token})
        return cls(api, project, number)

    @property
    def _request(self) -> str:
        return f"/projects/{quote(self.project, safe='')}/merge_requests/{self.number}"

    def own(self) -> list[str]:
        me = self.api.call("GET", "/user")["id"]
        found = []
        for page in range(1, MOST_PAGES + 1):
            order = f"sort=asc&order_by=created_at&per_page={PAGE}&page={page}"
            notes = self.api.call("GET", f"{self._request}/notes?{order}")
            found += [str(int(n["id"])) for n in notes if n["author"]["id"] == me and is_ours(n["body"])]
            if len(notes) < PAGE:
                break
        return found

    def head(self) -> str:
        return str(self.api.call("GET", self._request)["sha"])

    def create(self, body: str) -> str:
        return str(self.api.call("POST", f"{self._request}/notes", {"body": body})["id"])

    def update(self, comment: str, body: str) -> None:
        self.api.call("PUT", f"{self._request}/notes/{comment}", {"body": body})

    def delete(self, comment: str) -> None:
        self.api.call("DELETE", f"{self._request}/notes/{comment}")
