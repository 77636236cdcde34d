"""What is done to the pages when they are built: formulas, bibliography, gallery."""

import importlib
import logging
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import pytest

from docs.hooks import bibliography, outside

pytest.importorskip("math_core")
formulas = importlib.import_module("docs.hooks.formulas")


def page(uri: str) -> SimpleNamespace:
    return SimpleNamespace(file=SimpleNamespace(src_uri=uri))


class Files:
    """The one file that the bibliography looks up."""

    def get_file_from_path(self, path):
        assert path == bibliography.PAGE
        return SimpleNamespace(url_relative_to=lambda _: "../bibliography/")


def linked(content: str, uri: str = "api/optim.md") -> str:
    return bibliography.on_page_content(content, page=page(uri), files=Files())


def test_marked_tex_becomes_mathml(caplog):
    content = (
        r'<p><span class="arithmatex">\(a &lt; \mathrm{KL}(p \,\|\, q)\)</span>'
        r"<code>\(b\)</code></p>"
        '\n<div class="arithmatex">\\[\n\\frac{1}{2}\n\\]</div>'
    )
    found = formulas.on_page_content(content, page=page("x.md"))
    assert r"<code>\(b\)</code>" in found
    inline, display = ElementTree.fromstring(
        f"<div>{found.replace('&ApplyFunction;', '')}</div>"
    ).iter("math")
    text = "".join(inline.itertext())
    assert text.replace(" ", "") == "a<KL(p‖q)"
    assert inline.get("display") is None
    assert display.get("display") == "block"
    assert [part.text for part in display.find("mfrac")] == ["1", "2"]
    assert not caplog.records


@pytest.mark.parametrize("tex", [r"\unknown{x}", r"\frac{1}{2", "x}", "x_", r"\left( x"])
def test_tex_that_does_not_convert_is_a_warning_with_its_page(tex, caplog):
    content = rf'<span class="arithmatex">\({tex}\)</span>'
    with caplog.at_level(logging.WARNING, logger="mkdocs"):
        assert formulas.on_page_content(content, page=page("x.md")) == content
    (record,) = caplog.records
    assert record.name.startswith("mkdocs."), "strict builds count the warnings of this logger"
    assert "x.md" in record.getMessage()
    assert repr(tex) in record.getMessage()


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (r"B{\'e}cigneul and Fran{\c{c}}ois", "Bécigneul and François"),
        (r"S{\o}rset, {\L}ukasz, H{\aa}vard, Garc{\'\i}a", "Sørset, Łukasz, Håvard, García"),
        (r"{\v{C}}encov, R{\"a}tsch, {\=a}", "Čencov, Rätsch, ā"),
        (r"the {$p$}-norm of {MNIST} \& so", "the $p$-norm of MNIST &amp; so"),
        (r"of {$\operatorname{tr}_1$} [a]", r"of $\operatorname{tr}_1$ \[a\]"),
        ("251--276", "251\N{EN DASH}276"),
        ("f_1 [a]", r"f\_1 \[a\]"),
    ],
)
def test_fields_lose_their_tex(field, text):
    assert bibliography.plain(field) == text


def test_a_reference_has_all_its_parts():
    fields = {
        "author": "Amari, Shun-ichi and Nagaoka, H. and others",
        "title": "A {T}itle",
        "journal": "Annals",
        "volume": "10",
        "number": "2",
        "pages": "1--2",
        "year": "1998",
        "doi": "10.1/x",
    }
    assert bibliography.reference(fields) == (
        "Shun-ichi Amari, H. Nagaoka et al.: **A Title**. *Annals* 10(2), 1\N{EN DASH}2, 1998, "
        "[doi:10.1/x](https://doi.org/10.1/x)."
    )
    series = {"author": "A, B", "title": "T", "year": "2000", "booktitle": "C", "series": "S"}
    assert bibliography.reference(series | {"volume": "3", "edition": "2"}) == (
        "B A: **T**. *C*, S 3, edition 2, 2000."
    )
    online = {"author": "A, B", "title": "T", "year": "2000", "volume": "1", "eprint": "1.2"}
    assert bibliography.reference(online | {"howpublished": "https://a.b"}) == (
        "B A: **T**. volume 1, <https://a.b>, [arXiv:1.2](https://arxiv.org/abs/1.2), 2000."
    )
    two = bibliography.reference({"author": "A, B and C, D", "title": "T", "year": "2000"})
    assert two == "B A and D C: **T**. 2000."


def test_the_page_holds_every_entry_without_tex():
    text = bibliography.markdown()
    for _, key, _ in bibliography.entries():
        assert text.count(f'<a id="{key}"></a>') == 1
    outside_formulas = "".join(text.split("$")[::2])
    assert not set("{}") & set(outside_formulas)
    assert "\\" not in outside_formulas.replace("\\*", "").replace("\\_", "").replace("\\[", "")


def test_citations_are_links_outside_of_code():
    assert linked("<p>[Amari1998] theorem 1; [Amari2016, eq. 2; Efron1975]</p>") == (
        '<p>[<a href="../bibliography/#Amari1998">Amari1998</a>] theorem 1; '
        '[<a href="../bibliography/#Amari2016">Amari2016</a>, eq. 2; '
        '<a href="../bibliography/#Efron1975">Efron1975</a>]</p>'
    )
    for verbatim in ("<code>[Amari1998]</code>", '<a href="x">[Amari1998]</a>'):
        assert linked(verbatim) == verbatim
    assert linked("[Amari1998]", bibliography.PAGE) == "[Amari1998]"


def test_an_unknown_key_is_a_warning(caplog):
    with caplog.at_level(logging.WARNING, logger="mkdocs"):
        linked("[Nobody1900]")
    assert "Nobody1900" in caplog.text


@pytest.mark.parametrize(
    ("uri", "text", "expected"),
    [
        ("examples/README.md", "![a](../docs/gallery/a.png)", "![a](../gallery/a.png)"),
        ("index.md", "![a](../docs/gallery/a.png)", "![a](../docs/gallery/a.png)"),
        ("examples/README.md", "`quickstart.py`", "[`quickstart.py`](quickstart.py)"),
        (
            "examples/README.md",
            "[`quickstart.py`](quickstart.py)",
            "[`quickstart.py`](quickstart.py)",
        ),
        ("x.md", "`examples/quickstart.py`", "[`examples/quickstart.py`](examples/quickstart.py)"),
        (
            "api/x.md",
            "`benchmarks/results/accuracy.md`",
            "[`benchmarks/results/accuracy.md`](../benchmarks/results/accuracy.md)",
        ),
        ("examples/README.md", "`examples/README.md`", "`examples/README.md`"),
        ("x.md", "`quickstart.py`, `examples/none.py`", "`quickstart.py`, `examples/none.py`"),
    ],
)
def test_files_outside_are_linked(uri, text, expected):
    assert outside.on_page_markdown(text, page=page(uri)) == expected


def test_the_files_outside_exist():
    assert {"examples/README.md", "benchmarks/results/accuracy.md"} <= set(outside.names())
