"""What a public place holds: the files of a source, with their sizes and checksums, as the place itself lists them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter, Retry

from medmm_lib.data.loaded import DataError

TIMEOUT = 60  # seconds without an answer


@dataclass(frozen=True)
class RemoteFile:
    """A file: its path in the source, its address, size in bytes, and a checksum `kind:digest`, where `git` is the hash
    that git gives a blob."""

    path: str
    url: str
    size: int
    checksum: str


@dataclass(frozen=True)
class GitHub:
    """A folder of a repository at a commit."""

    repository: str
    commit: str
    folder: str = ""
    api: str = "https://api.github.com"
    raw: str = "https://raw.githubusercontent.com"

    @property
    def address(self) -> str:
        """Where a person can look at it."""
        return f"https://github.com/{self.repository}"

    def files(self) -> Iterator[RemoteFile]:
        """Its files, by git's blob hashes."""
        listed = listing(f"{self.api}/repos/{self.repository}/git/trees/{self.commit}?recursive=1")
        if listed.get("truncated"):
            raise DataError(f"{self.address} has more files than its listing holds: clone it with git instead")
        start = f"{self.folder}/" if self.folder else ""
        for item in listed["tree"]:
            if item["type"] == "blob" and item["path"].startswith(start):
                url = f"{self.raw}/{self.repository}/{self.commit}/{quote(item['path'])}"
                yield RemoteFile(item["path"].removeprefix(start), url, item["size"], f"git:{item['sha']}")


@dataclass(frozen=True)
class Hub:
    """A data set of the Hugging Face hub."""

    repository: str
    revision: str = "main"
    endpoint: str = "https://huggingface.co"

    @property
    def address(self) -> str:
        """Where a person can look at it."""
        return f"{self.endpoint}/datasets/{self.repository}"

    def files(self) -> Iterator[RemoteFile]:
        """Its files, by SHA-256 where they are large, else by git's blob hashes."""
        url = f"{self.endpoint}/api/datasets/{self.repository}/tree/{self.revision}?recursive=true"
        for item in listing(url):
            if item["type"] == "file":
                checksum = f"sha256:{item['lfs']['oid']}" if item.get("lfs") else f"git:{item['oid']}"
                address = f"{self.address}/resolve/{self.revision}/{quote(item['path'])}"
                yield RemoteFile(item["path"], address, item["size"], checksum)


@dataclass(frozen=True)
class Zenodo:
    """A record of Zenodo."""

    record: int
    api: str = "https://zenodo.org/api"

    @property
    def address(self) -> str:
        """Where a person can look at it."""
        return f"https://zenodo.org/records/{self.record}"

    def files(self) -> Iterator[RemoteFile]:
        """Its files, by MD5."""
        for item in listing(f"{self.api}/records/{self.record}")["files"]:
            yield RemoteFile(item["key"], item["links"]["self"], item["size"], item["checksum"])


Place = GitHub | Hub | Zenodo


def listing(url: str) -> Any:  # noqa: ANN401 - JSON can be anything
    """The JSON at an address, all pages of it where it is a list of several. Raises `DataError` without a network."""
    pages = []
    while url:
        try:
            answer = session().get(url, timeout=TIMEOUT)
            answer.raise_for_status()
            pages.append(answer.json())
        except (requests.RequestException, ValueError) as error:
            raise DataError(unreachable(url, error)) from error
        url = answer.links.get("next", {}).get("url", "")
    return [item for page in pages for item in page] if isinstance(pages[0], list) else pages[0]


@cache
def session() -> requests.Session:
    """Connections that are used again, and tried again after failures that may pass."""
    again = Retry(total=5, connect=1, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
    made = requests.Session()
    for start in ("http://", "https://"):
        made.mount(start, HTTPAdapter(max_retries=again))
    return made


def unreachable(url: str, error: Exception) -> str:
    """What to say of an address that can't be had."""
    asks = "Was it moved?" if isinstance(error, requests.HTTPError) else "Is there a network?"
    return (
        f"{url} can't be had ({type(error).__name__}: {error}). {asks} What is already there stays, and the same "
        "command goes on. Without a network, bring the files from another machine"
    )
