"""The gallery is `examples/README.md`, outside of the folder of the pages, and its programs."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = "examples"


def on_files(files, *, config):
    """Add the list of the examples and the programs that it links."""
    from mkdocs.structure.files import File  # the tests import this file without mkdocs

    for path in sorted((ROOT / FOLDER).glob("*.*")):
        if path.suffix in (".md", ".py"):
            name = f"{FOLDER}/{path.name}"
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page, **_) -> str:
    """Of the list of the examples, `../docs/gallery` is `../gallery` beside the pages."""
    if page.file.src_uri.startswith(f"{FOLDER}/"):
        return markdown.replace("../docs/", "../")
    return markdown
