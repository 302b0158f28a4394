"""Checks of a built website that neither Quarto nor smalldocs treats as an error."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# `@key` as a citation or a cross-reference is written; `recall@5` and addresses have a letter or digit before the @.
RAW_KEY = re.compile(r"(?<![\w@./-])@[A-Za-z][\w:-]*")
# What Quarto writes for a variable or a citation that it does not find.
UNKNOWN_VARIABLE = re.compile(r"\?(?:var|meta):[\w.-]+")
UNKNOWN_CITATION = re.compile(r'data-cites="([^"]+)"[^>]*>\(?<strong>[^<]*\?</strong>')
# A link or span that the renderer left as it was written.
RAW_LINK = re.compile(r"\]\(#[\w-]+\)|\]\{\.[\w-]+\}")
NOT_PROSE = {"script", "style", "code", "pre", "annotation", "textarea"}
LINKS = {"a": "href", "link": "href", "script": "src", "img": "src", "source": "src", "iframe": "src"}


@dataclass
class Page(HTMLParser):
    """One page of the website: its prose, what it links to, and the places that can be linked to."""

    path: Path
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    prose: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the page."""
        super().__init__()
        self._open: list[str] = []
        self.html = self.path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links and anchors."""
        values = dict(attrs)
        if tag in NOT_PROSE:
            self._open.append(tag)
        self.anchors |= {value for key in ("id", "name") if (value := values.get(key))}
        if link := values.get(LINKS.get(tag, "")):
            self.links.append(link)

    def handle_endtag(self, tag: str) -> None:
        """Leave code and scripts."""
        if tag in self._open:
            self._open.remove(tag)

    def handle_data(self, data: str) -> None:
        """Collect the text outside code and scripts."""
        if not self._open:
            self.prose.append(data)


@dataclass
class Website:
    """A built website: `problems()` is empty when it may be published."""

    folder: Path

    @cached_property
    def pages(self) -> dict[Path, Page]:
        """Every page by its path."""
        return {path: Page(path) for path in sorted(self.folder.resolve().rglob("*.html"))}

    def problems(self) -> list[str]:
        """One line for each unresolved key and broken link, with the page's name."""
        found: list[str] = []
        for path, page in self.pages.items():
            prose = " ".join(page.prose)
            lines = [f"{key} was not resolved" for key in RAW_KEY.findall(prose)]
            lines += [f"{mark} was not rendered" for mark in RAW_LINK.findall(prose)]
            lines += [f"{key[1:]} is not a known variable" for key in UNKNOWN_VARIABLE.findall(prose)]
            lines += [f"@{key} is not in the bibliography" for key in UNKNOWN_CITATION.findall(page.html)]
            lines += [f"broken link {link}" for link in page.links if not self._leads_somewhere(page, link)]
            name = path.relative_to(self.folder.resolve()).as_posix()
            found += [f"{name}: {line}" for line in dict.fromkeys(lines)]
        return found

    def _leads_somewhere(self, page: Page, link: str) -> bool:
        address = urlsplit(link)
        if address.scheme or address.netloc:
            return True
        target = page.path
        if address.path:
            start = self.folder if address.path.startswith("/") else page.path.parent
            target = (start / unquote(address.path).lstrip("/")).resolve()
        if target.is_dir():
            target /= "index.html"
        if not target.exists():
            return False
        anchor = unquote(address.fragment)
        return not anchor or target not in self.pages or anchor in self.pages[target].anchors
