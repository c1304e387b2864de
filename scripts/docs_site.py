"""Hooks of MkDocs for the documentation site; mkdocs.yml names this file.

They add the generated reference pages (scripts/docs_reference.py), CONTRIBUTING and CHANGELOG.
They expand patterns of the navigation, such as `adr/*`.
They rewrite links for the site. A link to a file of the code becomes the name of that file.
The theme loads one script from the internet. They replace it, so that the search works from the disk.
"""

import re
import sys
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path
from posixpath import relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).resolve().parent))

import docs_reference

PROJECT = docs_reference.PROJECT
DOCS = PROJECT / "docs"
ROOT_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "index.md"}
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]\n]+)\]\((?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
FENCE = re.compile(r"^\s*(```|~~~)")
ITEM = re.compile(r"^([-*+]|\d+\.) ")

THEIR_WORKER = re.compile(r'(?<=<script src=")https://[^"]*iframe-worker[^"]*(?=")')
WORKER = "assets/javascripts/frame-worker.js"
WORKER_CODE = """\
// Browsers allow no Worker on pages that are opened from the disk. A hidden frame runs the script instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inner = frame.contentWindow;
      addEventListener("message", (event) => {
        if (event.source !== this.inner) return;
        const copy = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(copy);
        if (this.onmessage) this.onmessage(copy);
      });
      const load = (...urls) => urls.reduce((before, one) => before.then(() => new Promise((done) => {
        const script = document.createElement("script");
        script.src = one;
        script.onload = done;
        document.body.append(script);
      })), Promise.resolve());
      const page = this.inner.document;
      page.open();
      page.write(`<html><body><script>
        postMessage = (message) => parent.postMessage(message, "*");
        importScripts = ${load};
        <\\/script><script src="${url}"><\\/script></body></html>`);
      page.close();
      this.ready = new Promise((done) => { this.inner.onload = done; });
    }
    postMessage(data) {
      const copy = { data: structuredClone(data) };
      this.ready.then(() => this.inner.dispatchEvent(new MessageEvent("message", copy)));
    }
    terminate() { this.inner.frameElement.remove(); }
  };
}
"""
STYLE = "assets/stylesheets/site.css"  # mkdocs.yml names it
STYLE_CODE = ".md-typeset td:first-child code { white-space: nowrap; }\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, then expand the navigation over all pages."""
    generated = docs_reference.pages()
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        generated[ROOT_PAGES[name]] = (PROJECT / name).read_text(encoding="utf-8")
    generated |= {WORKER: WORKER_CODE, STYLE: STYLE_CODE}
    for path, text in generated.items():
        files.append(File.generated(config, path, content=text))
    config.nav = _expanded(config.nav, sorted(file.src_uri for file in files.documentation_pages()))
    return files


def _expanded(nav: Any, pages: list[str]) -> Any:
    """The navigation, with the pages of each pattern instead of the pattern."""
    if isinstance(nav, dict):
        return {title: _expanded(inner, pages) for title, inner in nav.items()}
    if not isinstance(nav, list):
        return nav
    entries: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and "*" in entry:
            entries += _in_order(page for page in pages if fnmatch(page, entry))
        else:
            entries.append(_expanded(entry, pages))
    return entries


def _in_order(pages: Iterable[str]) -> list[str]:
    """The pages of a folder: its index, dated pages with the newest first, then the others by name."""
    index: list[str] = []
    dated: list[str] = []
    others: list[str] = []
    for page in sorted(pages):
        name = page.rpartition("/")[2]
        kept = index if name in ("index.md", "README.md") else dated if DATE.match(name) else others
        kept.append(page)
    return [*index, *reversed(dated), *others]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page, and let a list begin right after a paragraph, as on GitHub."""
    source = page.file.src_uri
    roots = {site: name for name, site in ROOT_PAGES.items() if name != "README.md"}
    base = PROJECT if source in roots else (DOCS / source).parent

    def link(match: re.Match[str]) -> str:
        return _link(match, base, source)

    return _outside_fences(_lists_apart(markdown), lambda text: LINK.sub(link, text))


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Load the worker of the search from the site itself."""
    return THEIR_WORKER.sub(relpath(WORKER, Path(page.url).parent.as_posix()), output)


def on_post_template(output: str, template_name: str, config: MkDocsConfig) -> str:
    """The same for pages without a source, such as 404.html."""
    return THEIR_WORKER.sub(WORKER, output)


def _link(match: re.Match[str], base: Path, source: str) -> str:
    """A link as it has to be on the site; one that leads nowhere stays, and fails the strict build."""
    target = (base / match["target"]).resolve()
    if target.is_relative_to(DOCS):
        goal = target.relative_to(DOCS).as_posix()
    elif target.is_relative_to(PROJECT) and target.name in ROOT_PAGES and target.parent == PROJECT:
        goal = ROOT_PAGES[target.name]
    elif target.is_relative_to(PROJECT) and target.exists():
        return match["text"]
    else:
        return match[0]
    return f"[{match['text']}]({relpath(goal, Path(source).parent.as_posix())}{match['anchor'] or ''})"


def _outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    """Change every line but those of code blocks."""
    lines, fenced = [], False
    for line in markdown.split("\n"):
        if FENCE.match(line):
            fenced = not fenced
        lines.append(line if fenced else change(line))
    return "\n".join(lines)


def _lists_apart(markdown: str) -> str:
    """An empty line before each list that follows a paragraph."""
    lines: list[str] = []
    fenced = False
    for line in markdown.split("\n"):
        before = lines[-1] if lines else ""
        fenced = fenced != bool(FENCE.match(line))
        starts = ITEM.match(line) and before.strip() and not ITEM.match(before) and not before.startswith(" ")
        if starts and not fenced:
            lines.append("")
        lines.append(line)
    return "\n".join(lines)
