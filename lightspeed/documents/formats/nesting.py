"""How deep a page is nested, told before it is parsed.

The HTML parser walks all open elements for each new one, so a page that opens elements without end would
keep it busy for minutes: 1 MB of opening tags took 132 s.
"""

import re
from collections import Counter

_TAG = re.compile(r"<(?:(!--)|(/?)([a-z][^\s/<>]*+)[^<>]*+>)")
# Without content, or closed by the parser itself when the next one opens.
_NEVER_DEEP = frozenset(
    {
        *(
            "area",
            "base",
            "br",
            "col",
            "embed",
            "hr",
            "img",
            "input",
            "link",
            "meta",
            "source",
            "track",
            "wbr",
        ),
        *("a", "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "option", "optgroup"),
        *("colgroup", "rp", "rt", "html", "head", "body"),
    }
)
_RAW = frozenset({"script", "style", "textarea", "title", "xmp"})
_FOREIGN = ("svg", "math")


def deepest(html: str) -> int:
    """The most elements that are open at the same time, at a guess and in linear time."""
    html = html.lower()
    opened: Counter[str] = Counter()
    depth = most = position = 0
    while found := _TAG.search(html, position):
        position = found.end()
        comment, closing, name = found.groups()
        if comment or (name in _RAW and not closing):
            position = html.find("-->" if comment else f"</{name}", position)
            if position < 0:
                break
        elif closing:
            depth -= 1 if opened[name] else 0
            opened[name] -= 1 if opened[name] else 0
        elif name not in _NEVER_DEEP and not (found[0].endswith("/>") and any(opened[f] for f in _FOREIGN)):
            opened[name] += 1
            depth += 1
            most = max(most, depth)
    return most
