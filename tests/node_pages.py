"""Reads the pages of docs/nodes/: sections, tables, names in backticks."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = DOCS / "nodes"
SECTIONS = ("Topics", "Services and actions", "Diagnostics", "Failure modes", "Parameters")


def page_text(name):
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def section(text, title):
    """What stands below a heading of the second level."""
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def tables(text):
    """{first heading cell: rows as lists of cells} of every table; equal headings join."""
    found, rows, heading = {}, None, ""
    for line in [*text.splitlines(), ""]:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            rows = None
        elif rows is None:
            heading = cells[0]
            rows = found.setdefault(heading, [])
        elif set("".join(cells)) - set("- :"):
            rows.append(cells)
    return found


def names(cell):
    """The names in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def pattern(name):
    """A regular expression of a name with <placeholders>."""
    parts = re.split(r"<[^>]*>", name)
    return re.compile(".*".join(map(re.escape, parts)))
