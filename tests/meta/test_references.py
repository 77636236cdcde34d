"""Every work cited in a docstring or a page stands in docs/references.bib."""

import re
from pathlib import Path

import pytest

from docs.hooks.bibliography import FILE, KEY, cited_in, entries
from tests.meta.sources import PACKAGES, ROOT, docstrings_of, python_files, relative, tree_of

NEEDS = {
    "article": {"author", "title", "journal", "volume", "year"},
    "book": {"author", "title", "publisher", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "misc": {"author", "title", "year"},
}


def section(docstring: str, name: str) -> str | None:
    """The body of a Google section, or None where the docstring has none."""
    found = re.search(rf"^{name}:\n((?:[ \t]+.*\n?|\n)*)", docstring + "\n", re.MULTILINE)
    return found and found[1]


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_every_cited_key_exists():
    known = {key for _, key, _ in entries()}
    missing = [
        f"{relative(path)}:{line} {name} cites [{key}]"
        for path in python_files(*PACKAGES, "examples", "benchmarks")
        for name, line, text in docstrings_of(tree_of(path))
        for key in sorted(cited_in(text) - known)
    ]
    missing += [
        f"{relative(path)} cites [{key}]"
        for path in pages()
        for key in sorted(cited_in(path.read_text(encoding="utf-8")) - known)
    ]
    assert not missing, "not in docs/references.bib:\n" + "\n".join(missing)


def test_every_references_section_has_a_key():
    bare = [
        f"{relative(path)}:{line} {name}"
        for path in python_files(*PACKAGES)
        for name, line, text in docstrings_of(tree_of(path))
        if (body := section(text, "References")) is not None and not cited_in(body)
    ]
    assert not bare, "References without a [Key2000] of docs/references.bib:\n" + "\n".join(bare)


def test_entries_are_complete():
    found = entries()
    text = FILE.read_text(encoding="utf-8")
    assert len(found) == text.count("\n@") + text.startswith("@"), "an entry does not parse"
    keys = [key for _, key, _ in found]
    assert sorted(set(keys)) == sorted(keys), "a key stands twice"
    assert keys == sorted(keys, key=str.casefold), "entries are sorted by key"
    for kind, key, fields in found:
        assert kind in NEEDS, f"{key}: kind {kind} is not one of {sorted(NEEDS)}"
        assert NEEDS[kind] <= set(fields), f"{key} lacks {NEEDS[kind] - set(fields)}"
        assert KEY.fullmatch(key), f"{key} is not of the form Author2000"
        assert fields["year"] in key, f"{key} is of {fields['year']}"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("as in [Amari2016].", {"Amari2016"}),
        ("[Amari2016, eq. 2.3]", {"Amari2016"}),
        ("[Amari2016; Cencov1982]", {"Amari2016", "Cencov1982"}),
        ("an array x[2016] and [link](https://example.org/Amari2016)", set()),
    ],
)
def test_citations_are_recognized(text, keys):
    assert cited_in(text) == keys


def test_sections_are_recognized():
    docstring = "Summary.\n\nReferences:\n  [Amari2016] sec. 2.\n\nExamples:\n  none"
    assert cited_in(section(docstring, "References") or "") == {"Amari2016"}
    assert section(docstring, "Raises") is None
