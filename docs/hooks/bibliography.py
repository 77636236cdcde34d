"""`references.bib` as a page, and every `[Key2000]` of the other pages as a link to its entry."""

import html
import logging
import re
import unicodedata
from pathlib import Path

log = logging.getLogger("mkdocs.hooks.bibliography")
PAGE = "bibliography.md"
FILE = Path(__file__).parents[1] / "references.bib"
# `[Amari2016]`, `[Amari2016, eq. 2.3]`, `[Amari2016; Cencov1982]`.
BRACKET = re.compile(r"\[([A-Z][A-Za-z]+\d{4}[a-z]?(?:[,;: ][^\]\n]*)?)\]")
KEY = re.compile(r"\b[A-Z][A-Za-z]+\d{4}[a-z]?\b")
ENTRY = re.compile(r"^@(\w+)\{([^,\s]+),\n(.*?)^\}", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^\s*(\w+)\s*=\s*\{(.*)\},?$", re.MULTILINE)
VERBATIM_OR_CITATION = re.compile(rf"<(code|pre|a)\b.*?</\1>|{BRACKET.pattern}", re.DOTALL)
ACCENTS = {"'": "\u0301", "`": "\u0300", '"': "\u0308", "^": "\u0302", "~": "\u0303"}
ACCENTS |= {"=": "\u0304", "v": "\u030c", "c": "\u0327"}
LETTERS = {r"\o": "ø", r"\L": "Ł", r"\aa": "å", r"\i": "i", r"\&": "&"}
ACCENTED = re.compile(r"\\(['`\"^~=]|[vc](?=\{))\{?(\\?\w)\}?")
LETTER = re.compile(r"\\(?:o|L|aa|i)(?![A-Za-z])|\\&")


def entries() -> list[tuple[str, str, dict[str, str]]]:
    """Kind, key and fields of every entry."""
    text = FILE.read_text(encoding="utf-8")
    return [(kind, key, dict(FIELD.findall(body))) for kind, key, body in ENTRY.findall(text)]


def cited_in(text: str) -> set[str]:
    """The keys that a text cites."""
    return {key for inside in BRACKET.findall(text) for key in KEY.findall(inside)}


def plain(value: str) -> str:
    """A field of BibTeX as Markdown: accents and dashes as letters, without braces.

    Formulas between dollars stay as they are.
    """
    parts = re.split(r"(\$[^$]*\$)", value)
    for i in range(0, len(parts), 2):
        text = ACCENTED.sub(lambda found: _accented(*found.groups()), parts[i])
        text = LETTER.sub(lambda found: LETTERS[found[0]], text)
        text = text.replace("--", "\N{EN DASH}").replace("{", "").replace("}", "")
        parts[i] = re.sub(r"([\\*_\[\]])", r"\\\1", html.escape(text, quote=False))
    return "".join(parts)


def _accented(accent: str, letter: str) -> str:
    return unicodedata.normalize("NFC", LETTERS.get(letter, letter) + ACCENTS[accent])


def _authors(field: str) -> str:
    """`Last, First and ...` as `First Last, ...`."""
    names = [" ".join(reversed(name.split(", "))) for name in plain(field).split(" and ")]
    head, last = ", ".join(names[:-1]), names[-1]
    if last == "others":
        return f"{head} et al."
    return f"{head} and {last}" if head else last


def reference(fields: dict[str, str]) -> str:
    """The work in one line of Markdown, with a link where the entry has one."""
    has = {name: plain(text) for name, text in fields.items()}
    number = f"({has['number']})" if "number" in has else ""
    volume = f" {has['volume']}{number}" if "volume" in has else ""
    numbered = next((name for name in ("series", "journal", "booktitle") if name in has), None)
    where = []
    for name in ("journal", "booktitle", "series"):
        if name in has:
            title = has[name] if name == "series" else f"*{has[name]}*"
            where.append(title + volume if name == numbered else title)
    if volume and numbered is None:
        where.append(f"volume{volume}")
    if "pages" in has:
        where.append(has["pages"])
    if "edition" in has:
        where.append(f"edition {has['edition']}")
    for name in ("publisher", "howpublished", "note"):
        if name in has:
            where.append(f"<{fields[name]}>" if "https://" in fields[name] else has[name])
    if "eprint" in fields:
        where.append(f"[arXiv:{fields['eprint']}](https://arxiv.org/abs/{fields['eprint']})")
    where.append(fields["year"])
    if "doi" in fields:
        where.append(f"[doi:{fields['doi']}](https://doi.org/{fields['doi']})")
    return f"{_authors(fields['author'])}: **{plain(fields['title'])}**. {', '.join(where)}."


def markdown() -> str:
    """The page."""
    lines = ["# Bibliography", ""]
    lines.append(
        "The works that docstrings and pages cite by key, as `[Amari2016]`, in the order of keys;"
        " for BibTeX [references.bib](references.bib)."
    )
    letter = ""
    for _, key, fields in entries():
        if key[0] != letter:
            letter = key[0]
            lines += ["", f"## {letter}", ""]
        lines.append(f'- <a id="{key}"></a>`{key}` {reference(fields)}')
    return "\n".join(lines) + "\n"


def on_files(files, *, config):
    """Add the page."""
    from mkdocs.structure.files import File  # the tests read the entries without mkdocs

    files.append(File.generated(config, PAGE, content=markdown()))
    return files


def on_page_content(content: str, *, page, files, **_) -> str:
    """Link the citations of one page, those of docstrings included."""
    if page.file.src_uri == PAGE:
        return content
    known = {key for _, key, _ in entries()}
    target = files.get_file_from_path(PAGE).url_relative_to(page.file)

    def linked(found: re.Match[str]) -> str:
        key = found[0]
        if key not in known:
            log.warning("%s cites %s, which references.bib lacks", page.file.src_uri, key)
        return f'<a href="{target}#{key}">{key}</a>'

    def linked_outside_of_code(found: re.Match[str]) -> str:
        return found[0] if found[1] else KEY.sub(linked, found[0])

    return VERBATIM_OR_CITATION.sub(linked_outside_of_code, content)
