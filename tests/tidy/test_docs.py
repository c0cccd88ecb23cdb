"""The documentation says what the code says, and its links lead somewhere."""

from __future__ import annotations

import posixpath
import re

import pytest

Texts = dict[str, str]

CONFIGURATION = "docs/configuration.md"
ERRORS = "docs/errors.md"
# Codes that Python alone raises.
PYTHON_CODES = {"R403"}
STARTS = ("README.md", "docs/README.md", "docs/index.md")

FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")


def options_of_the_code(texts: Texts) -> set[str]:
    table = re.findall(r'OptionRow\{\s*"(RUEDA_\w+)"', texts["csrc/core/config_table.cc"])
    return set(table)


def options_of_the_build(texts: Texts) -> set[str]:
    """Return CMake's options, which are no variables of the environment."""
    cmake = texts["cmake/RuedaOptions.cmake"]
    parts = re.search(r"foreach\(part ([A-Z ]+)\)", cmake)
    with_parts = {f"RUEDA_WITH_{part}" for part in parts[1].split()} if parts else set()
    return with_parts | set(re.findall(r"(?:option|set)\((RUEDA_\w+)", cmake))


def option_breaches(texts: Texts) -> list[str]:
    """Return options of the code without a row in the docs, and options that only docs know."""
    code, documented = options_of_the_code(texts), texts[CONFIGURATION]
    rows = set(re.findall(r"^\|\s*`(RUEDA_\w+)`", documented, re.MULTILINE))
    words = set(re.findall(r"\bRUEDA_[A-Z0-9_]*[A-Z0-9]\b", documented))
    missing = [f"{name} has no row in {CONFIGURATION}" for name in sorted(code - rows)]
    unknown = sorted(words - code - options_of_the_build(texts))
    return missing + [f"{CONFIGURATION} names {name}, which is no option" for name in unknown]


def codes_of_the_code(texts: Texts) -> dict[str, str]:
    """Return names of StatusCode by printed code, such as kMismatch by R201."""
    body = re.search(
        r"enum class StatusCode[^{]*\{(.*?)\};", texts["csrc/core/status.h"], re.DOTALL
    )
    assert body
    rows = re.findall(r"\b(k\w+)\s*=\s*(\d+)", body[1])
    return {f"R{number}": name for name, number in rows if number != "0"}


def code_breaches(texts: Texts) -> list[str]:
    """Return codes that errors.md lacks or names otherwise, and codes that only it knows."""
    code, documented = codes_of_the_code(texts), texts[ERRORS]
    found = [f"{c} is not in {ERRORS}" for c in code if not re.search(rf"\b{c}\b", documented)]
    found += [
        f"{name} ({c}) is not in {ERRORS}"
        for c, name in code.items()
        if not re.search(rf"\b{name}\b", documented)
    ]
    known = set(code) | PYTHON_CODES
    words = sorted(set(re.findall(r"\bR[1-9]\d\d\b", documented)) - known)
    return found + [f"{ERRORS} names {word}, which is no code" for word in words]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, made as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", FENCE.sub("", text), re.MULTILINE):
        words = LINK.sub(lambda m: m[0][1 : m[0].index("]")], heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        number = sum(1 for a in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", a))
        found.add(f"{slug}-{number}" if number else slug)
    return found


def links(path: str, text: str) -> list[tuple[str, str]]:
    """Return the links of a page to files of the repository: path from the root, and anchor."""
    found = []
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        file, _, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(path), file)) if file else path
        found.append((place, anchor))
    return found


def link_breaches(pages: Texts, exists) -> list[str]:
    """Return links that lead to no file, or to no heading of it."""
    found = []
    for path, text in pages.items():
        for place, anchor in links(path, text):
            if not exists(place):
                found.append(f"{path}: {place} does not exist")
            elif anchor and place in pages and anchor not in anchors(pages[place]):
                found.append(f"{path}: {place} has no heading #{anchor}")
    return found


def unreachable(pages: Texts) -> list[str]:
    """Return pages of docs/ that no chain of links from a starting page leads to."""
    reached: set[str] = set()
    todo = [page for page in STARTS if page in pages]
    while todo:
        page = todo.pop()
        if page not in reached:
            reached.add(page)
            todo += [place for place, _ in links(page, pages[page]) if place in pages]
    return sorted(set(pages) - reached)


def mention_breaches(code: Texts, pages: Texts) -> list[str]:
    """Return mentions of pages in comments and messages that do not exist."""
    return [
        f"{path}: {mention}"
        for path, text in code.items()
        for mention in re.findall(r"\bdocs/[\w./-]+\.md\b", text)
        if mention not in pages
    ]


@pytest.fixture(scope="module")
def pages(texts_of) -> Texts:
    return texts_of("README.md", "docs", suffixes=(".md",))


@pytest.fixture(scope="module")
def facts(texts_of, pages: Texts) -> Texts:
    sources = ("csrc/core/config_table.cc", "csrc/core/status.h", "cmake/RuedaOptions.cmake")
    return pages | texts_of(*sources, suffixes=(".cc", ".h", ".cmake"))


def test_every_option_is_documented_and_every_documented_option_exists(facts: Texts) -> None:
    assert len(options_of_the_code(facts)) > 10
    assert option_breaches(facts) == []


def test_every_error_code_is_documented_and_every_documented_code_exists(facts: Texts) -> None:
    assert len(codes_of_the_code(facts)) > 10
    assert code_breaches(facts) == []


def test_python_names_only_variables_that_the_table_knows(facts: Texts, python_code: Texts) -> None:
    known = options_of_the_code(facts) | options_of_the_build(facts)
    words = {
        f"{path}: {name}"
        for path, text in python_code.items()
        for name in re.findall(r"\bRUEDA_[A-Z0-9_]*[A-Z0-9]\b", text)
        if name not in known
    }
    assert sorted(words) == []


def test_links_lead_somewhere(pages: Texts, pytestconfig: pytest.Config) -> None:
    assert link_breaches(pages, lambda place: (pytestconfig.rootpath / place).exists()) == []


def test_every_page_is_reachable(pages: Texts) -> None:
    assert unreachable(pages) == []


def test_pages_that_the_code_mentions_exist(
    all_cpp: Texts, all_python: Texts, pages: Texts, texts_of
) -> None:
    build = texts_of("Makefile", "CMakeLists.txt", "cmake", suffixes=("Makefile", ".txt", ".cmake"))
    here = "tests/tidy/test_docs.py"
    code = {p: t for p, t in (all_cpp | all_python | build).items() if p != here}
    assert mention_breaches(code, pages) == []


FACTS = {
    "csrc/core/config_table.cc": 'OptionRow{"RUEDA_ONE", x}, OptionRow{\n "RUEDA_TWO", y}',
    "csrc/core/status.h": "enum class StatusCode : int {\n kOk = 0,\n kBad = 101, // R101\n};",
    "cmake/RuedaOptions.cmake": "foreach(part TORCH GLOO)\noption(RUEDA_WERROR x OFF)",
    CONFIGURATION: "| `RUEDA_ONE` | x |\n| `RUEDA_TWO` | y |\nRUEDA_WITH_GLOO, RUEDA_WERROR",
    ERRORS: "| R101 | kBad |",
}


def test_planted_options_and_codes_are_found() -> None:
    assert option_breaches(FACTS) == []
    assert code_breaches(FACTS) == []
    assert option_breaches(FACTS | {CONFIGURATION: "| `RUEDA_ONE` |\nRUEDA_TWO"})
    assert option_breaches(FACTS | {CONFIGURATION: FACTS[CONFIGURATION] + "\nRUEDA_THREE"})
    assert code_breaches(FACTS | {ERRORS: "| R101 |"})
    assert code_breaches(FACTS | {ERRORS: "| kBad |"})
    assert code_breaches(FACTS | {ERRORS: "| R101 | kBad | R999 |"})


def test_planted_links_are_found() -> None:
    texts = {
        "README.md": "# Top\n[a](docs/a.md) [b](docs/a.md#a-heading-twice-1) [c](#top)",
        "docs/a.md": "## A `heading`, twice\n## A heading twice\n[up](../README.md#top)\n"
        "[web](https://x.invalid/y) \n```\n[no](link.md)\n```\n",
        "docs/lonely.md": "",
    }

    def broken(page: str) -> list[str]:
        return link_breaches(texts | {"docs/b.md": page}, lambda place: place in texts)

    assert broken("[fine](a.md)") == []
    assert broken("[gone](gone.md)") == ["docs/b.md: docs/gone.md does not exist"]
    assert broken("[gone](a.md#gone)") == ["docs/b.md: docs/a.md has no heading #gone"]
    assert unreachable(texts) == ["docs/lonely.md"]
    assert mention_breaches({"a.cc": "// docs/gone.md"}, texts)
    assert not mention_breaches({"a.cc": "// docs/a.md"}, texts)
