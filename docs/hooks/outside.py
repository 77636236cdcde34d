"""Files of the repository outside of the pages' folder: examples and measured tables.

`examples/README.md` is the gallery. Where a page names one of these files as code, as
`examples/quickstart.py`, the site links it.
"""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHOWN = {"examples": (".md", ".py"), "benchmarks/results": (".md", ".png", ".svg")}
NAMED = re.compile(r"(?<!\[)`([\w/]+\.(?:md|py))`")


def names() -> list[str]:
    """The files that the site shows, as paths in the repository."""
    return [
        f"{folder}/{path.name}"
        for folder, kinds in SHOWN.items()
        for path in sorted((ROOT / folder).iterdir())
        if path.suffix in kinds
    ]


def on_files(files, *, config):
    """Add them under the paths that they have in the repository."""
    from mkdocs.structure.files import File  # the tests import this file without mkdocs

    for name in names():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, *, page, **_) -> str:
    """Link the files that one page names.

    A page from outside has its pictures in `../docs/gallery`, which is `../gallery` in the site.
    """
    folder = posixpath.dirname(page.file.src_uri)
    shown = set(names())

    def linked(found: re.Match[str]) -> str:
        for name in (found[1], posixpath.join(folder, found[1])):
            if name in shown and name != page.file.src_uri:
                return f"[{found[0]}]({posixpath.relpath(name, folder or '.')})"
        return found[0]

    if folder in SHOWN:
        markdown = markdown.replace("../docs/", "../")
    return NAMED.sub(linked, markdown)
