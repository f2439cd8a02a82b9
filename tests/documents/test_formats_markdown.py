"""Markdown: structure, front matter, embedded HTML."""

import pytest

from lightspeed.documents.document import Document, parse_document


def document(text: str) -> Document:
    return parse_document(text.encode(), name="page.md")


def sections(text: str) -> list[tuple[tuple[str, ...], str]]:
    return [(section.heading_trail, section.text) for section in document(text).sections]


def test_headings_make_sections_with_trails() -> None:
    text = "Before.\n\n# Guide\n\nIntro.\n\n## Install\n\n### Linux\n\nRun `apt`.\n\n## Use\n\nGo.\n\nOther\n=====\nEnd."
    assert sections(text) == [
        ((), "Before."),
        (("Guide",), "Intro."),
        (("Guide", "Install", "Linux"), "Run `apt`."),
        (("Guide", "Use"), "Go."),
        (("Other",), "End."),
    ]


def test_a_heading_with_nothing_below_it_is_kept() -> None:
    assert sections("# A\n\n## B\n\n## C\n\ntext\n\n# D\n") == [
        (("A", "B"), ""),
        (("A", "C"), "text"),
        (("D",), ""),
    ]


def test_headings_in_code_quotes_and_lists_are_no_sections() -> None:
    text = "# Real\n\n```sh\n# not a heading\n\nmore\n```\n\n    # nor this\n\n> # quoted\n\n- # listed\n"
    ((trail, body),) = sections(text)
    assert trail == ("Real",)
    assert "```sh\n# not a heading\n\nmore\n```" in body
    assert "# quoted" in body
    assert "# listed" in body


def test_code_tables_lists_and_references_stay_as_written() -> None:
    body = "| a | b |\n|---|---|\n| 1 | 2 |\n\n* one\n  * two\n\n[ref]: https://example.com/x\n\n```py\nx = 1\n```"
    assert sections(f"# T\n\n{body}\n") == [(("T",), body)]


def test_heading_text_is_plain() -> None:
    text = "# Use `x --y` *now* [here](https://example.com) <a name=a></a> {#anchor}\n\ntext"
    assert sections(text)[0][0] == ("Use x --y now here",)


def test_front_matter_gives_title_and_url_and_is_not_indexed() -> None:
    text = (
        "---\ntitle: 'A: title'\nurl: https://docs.example.com/a\ntags: [secret]\n---\n# Heading\n\nText.\n"
    )
    found = document(text)
    assert (found.title, found.url) == ("A: title", "https://docs.example.com/a")
    assert [(s.heading_trail, s.text) for s in found.sections] == [(("Heading",), "Text.")]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("+++\ntitle = 'Toml'\n+++\nText.", "Toml"),
        ("---\ntitle: {{ page }}\nx: }\n---\nText.", "{{ page }}"),
        ("---\ntitle: 2024\n---\nText.", "2024"),
        ("---\nlayout: x\n---\n# First\n\nText.\n\n# Second\n", "First"),
        ("## Only a second level\n\nText.", "Only a second level"),
        ("Text.", "Page"),
    ],
)
def test_titles(text: str, title: str) -> None:
    found = document(text)
    assert found.title == title
    assert "Text." in found.sections[0].text
    assert "title" not in found.sections[0].text


def test_a_rule_at_the_top_is_not_front_matter() -> None:
    assert "Keep this sentence." in sections("---\n\nKeep this sentence.\n\n---\n\nRest.")[0][1]


@pytest.mark.parametrize("url", ["/relative", "javascript:alert(1)", "[1, 2]", "null"])
def test_only_web_addresses_become_urls(url: str) -> None:
    assert document(f"---\nurl: {url}\n---\nText.").url is None


def test_html_blocks_become_text() -> None:
    text = '<h1 align="center">Product</h1>\n\n<!-- hidden note -->\n\n<p>Made <b>well</b>.</p>\n\n## Next\n\ntext'
    found = document(text)
    assert found.title == "Product"
    assert [(s.heading_trail, s.text) for s in found.sections] == [
        (("Product",), "Made well."),
        (("Product", "Next"), "text"),
    ]


def test_embedded_data_is_left_out() -> None:
    text = f"See ![logo](data:image/png;base64,{'iVBORw0KGgo' * 50}) here."
    assert sections(text) == [((), "See ![logo](data:) here.")]


REFERENCES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]\n" for number in range(1, 12)
)


@pytest.mark.parametrize(
    "front",
    [
        f"---\n{REFERENCES}title: *a11\n---\n",  # 10^12 letters if it were written out
        "---\ntitle: [a, b]\n---\n",
        "---\ntitle: {a: b}\n---\n",
        "---\ndate: !!timestamp never\n---\n",
        "---\ndraft: !!bool perhaps\n---\n",
        "---\n<<: [1]\n? {a: b}\n: c\n---\n",
    ],
)
def test_front_matter_of_any_kind_is_taken_away_and_nothing_is_built_of_it(front: str) -> None:
    found = document(front + "# First\n\nText.")
    assert found.title == "First"
    assert [(s.heading_trail, s.text) for s in found.sections] == [(("First",), "Text.")]


@pytest.mark.parametrize("value", ["[" * 5000, "9" * 5000])
def test_front_matter_that_toml_cannot_take_is_text(value: str) -> None:
    assert "Text." in document(f"+++\na = {value}\n+++\nText.").sections[0].text
