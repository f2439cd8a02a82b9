"""HTML: the readable text, its structure, and what is left out."""

import re

import pytest

from lightspeed.documents.document import Document, DocumentError, EmptyDocument, parse_document


def document(html: str | bytes) -> Document:
    return parse_document(html if isinstance(html, bytes) else html.encode(), name="page.html")


def sections(html: str) -> list[tuple[tuple[str, ...], str]]:
    return [(section.heading_trail, section.text) for section in document(html).sections]


def text(html: str) -> str:
    return "\n\n".join(body for _, body in sections(html))


PAGE = """<!doctype html><html><head><title> Setup  guide </title>
<link rel="canonical" href="https://docs.example.com/setup"><style>p {color: red}</style></head>
<body><header>Banner</header><nav><a href=/>Home</a></nav>
<main><header><h1>Setup<a class="headerlink" href="#s">¶</a></h1><p>3 min read</p></header>
<p>First&nbsp;para with <b>bold</b><i>italic</i>,
   wrapped.</p><script>var x = "<p>no</p>";</script><!-- comment -->
<h2>Steps</h2><p>One<br>two</p><aside>See also</aside><form><label>Search</label></form></main>
<footer>Copyright</footer></body></html>"""


def test_a_page_is_read_without_its_surroundings() -> None:
    found = document(PAGE)
    assert (found.title, found.url) == ("Setup guide", "https://docs.example.com/setup")
    assert [(s.heading_trail, s.text) for s in found.sections] == [
        (("Setup",), "First para with bolditalic, wrapped."),
        (("Setup", "Steps"), "One\ntwo"),
    ]


def test_articles_are_preferred_when_they_are_the_page() -> None:
    prose = "<p>" + "Long text about it. " * 20 + "</p>"
    assert "Sidebar" not in text(f"<div>Sidebar</div><article><h1>A</h1>{prose}</article>")
    assert "Outside" in text(f"<p>Outside</p>{prose}<article><p>Teaser</p></article>")


def test_an_empty_main_does_not_hide_the_page() -> None:
    assert text("<main></main><p>Here.</p>") == "Here."


def test_preformatted_text_is_verbatim_in_a_fence() -> None:
    html = '<p>Run:</p><pre><code class="language-sh">$ ls\n\n  <span>-l</span> &lt;dir&gt;\n</code></pre><p>Done.</p>'
    assert text(html) == "Run:\n\n```sh\n$ ls\n\n  -l <dir>\n```\n\nDone."
    assert text("<pre>a\n```\nb</pre>") == "````\na\n```\nb\n````"


def test_lists_become_lines() -> None:
    html = "<ul><li>One <b>x</b></li><li><p>Two</p><ol><li>A<li>B</ol>after</li></ul><p>End</p><dl><dt>T<dd>D</dl>"
    assert text(html) == "- One x\n- Two\n  1. A\n  2. B\n  after\n\nEnd\n\nT\n  D"


def test_tables_become_lines() -> None:
    html = (
        "<table><caption>Ports</caption><thead><tr><th>Name<th>Port</thead>"
        "<tr><td>web</td><td><p>80</p><p>443</p></td></tr></table>"
    )
    assert text(html) == "Ports\n\nName | Port\n--- | ---\nweb | 80 443"


def test_a_table_for_layout_is_walked_through() -> None:
    html = "<table><tr><td><h1>Title</h1><p>Text.</p><table><tr><td>a<td>b</table></td></tr></table>"
    assert sections(html) == [(("Title",), "Text.\n\na | b")]


def test_hidden_parts_are_dropped_but_not_tabs() -> None:
    html = '<p hidden>no</p><p aria-hidden="true">no</p><div role="navigation">no</div>'
    assert text(html + '<div role="tabpanel" hidden>yes</div>') == "yes"


def test_a_form_around_the_whole_page_is_kept() -> None:
    assert text("<form><h1>T</h1><p>Text.</p><button>Send</button></form>") == "Text."


def test_the_title_falls_back_to_the_first_heading() -> None:
    assert document("<h2>Second</h2><p>x").title == "Second"
    assert document("<p>x").title == "Page"
    assert document("<p>x<svg><title>icon</title></svg>").title == "Page"


@pytest.mark.parametrize("href", ["/relative", "", "ftp://example.com"])
def test_a_canonical_link_must_be_a_web_address(href: str) -> None:
    assert document(f'<link rel=canonical href="{href}"><p>x').url is None


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ('<meta charset="iso-8859-1">', "cp1252"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">', "cp1251"),
        ('<meta charset="iso-2022-jp">', "iso-2022-jp"),
        ('<?xml version="1.0" encoding="koi8-r"?>', "koi8-r"),
        ('<meta charset="iso-8859-1">', "utf-8"),
        ('<meta charset="no-such">', "utf-8"),
    ],
)
def test_character_sets(head: str, encoding: str) -> None:
    words = {"cp1252": "Größe “x”", "iso-2022-jp": "日本語", "utf-8": "Größe ж"}.get(encoding, "Размер")
    found = document(f"{head}<title>{words}</title><p>{words}</p>".encode(encoding))
    assert (found.title, found.sections[0].text) == (words, words)


def test_pages_without_text_and_binary_pages() -> None:
    with pytest.raises(EmptyDocument):
        document("<html><body><script>app()</script></body></html>")
    with pytest.raises(DocumentError, match="binary"):
        document(b"\x1f\x8b\x08\x00\x00")


@pytest.mark.parametrize("tags", ["<div>", "<b><i>", "<div/>", "<div></x>", "<svg></svg><my-box/>"])
def test_endless_nesting_is_refused(tags: str) -> None:
    with pytest.raises(DocumentError, match="nested more than"):
        document(tags * 200_000 + "x")


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 900 + "x",
        "<p>" * 5000 + "x",
        "<div><b>x</b></div>" * 5000,
        "<svg>" + "<path/>" * 5000 + "</svg>x",
        "<script>" + "if (a<b && c>d) {}" * 5000 + "</script>x",
        "<!-- " + "<div> " * 5000 + "-->x",
    ],
)
def test_other_long_pages_are_read(html: str) -> None:
    assert set(text(html).split()) == {"x"}


@pytest.mark.parametrize("part", ["<", "<a", "<a ", "<!--", "<script>", "</", "<a href='"])
def test_broken_markup_does_not_take_long(part: str) -> None:
    """A hundred thousand unfinished tags: a parser that looks ahead for each would never end."""
    assert text("<p>x</p>" + part * 100_000).startswith("x")


@pytest.mark.parametrize(
    "navigation",
    [
        '<div class="navheader"><table><tr><th>CREATE INDEX</th></tr><tr><td><a href="a">Prev</a></td></tr></table></div>',
        '<div class="navfooter"><hr><table><tr><td><a accesskey="n" href="a">Next</a></td></tr></table></div>',
        '<div class="header"><p>Next: <a href="a" accesskey="n" rel="next">Closures</a></p></div>',
        '<table class="nav"><tr><td>Up</td></tr></table>',
        '<div id="footer">Last updated yesterday</div>',
        '<ul class="breadcrumbs"><li><a href="a">Home</a></li></ul>',
    ],
)
def test_navigation_without_elements_of_its_own_is_left_out(navigation: str) -> None:
    assert sections(f"{navigation}<h1>Title</h1><p>Text.</p>{navigation}") == [(("Title",), "Text.")]


@pytest.mark.parametrize(
    "content",
    [
        '<div id="header"><h1>add(1)</h1><p>add - more</p></div>',
        '<div class="header">A warning <a href="#a">in full</a>.</div>',
        '<table><tr class="header"><th>Name <a href="#a" rel="up">x</a></th></tr><tr><td>Value</td></tr></table>',
        '<div class="nav"><h1>All of the page</h1><p>Text.</p></div>',
    ],
)
def test_what_is_only_named_like_navigation_is_kept(content: str) -> None:
    words = re.findall(r"\w+", re.sub("<[^>]*>", " ", content))
    found = sections(content)
    kept = " ".join(" ".join((*trail, text)) for trail, text in found)
    assert re.findall(r"\w+", kept) == words
