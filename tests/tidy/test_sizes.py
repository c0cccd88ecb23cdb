"""No file longer than 400 lines, no function longer than 60, in C++ and in Python."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

Texts = dict[str, str]

FILE_LINES = 400
FUNCTION_LINES = 60
# Path and the reason why the file may be longer. Splitting one that is here is always welcome.
LONG_FILES: dict[str, str] = {
    "tests/python/ranks.py": "the one place that starts, hears, stops and dumps ranks of tests",
}

COMMENT_OR_LITERAL = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"|'
    r"'(?:\\.|[^'\\\n])'|^[ \t]*#(?:\\\n|[^\n])*",
    re.DOTALL | re.MULTILINE,
)
# What a brace opens when it holds declarations and no statements.
CONTAINER = re.compile(
    r"^(?:inline\s+)?(?:namespace|class|struct|union|enum|extern)\b(?!.*\)\s*(?:const)?\s*$)",
    re.DOTALL,
)
ACCESS = re.compile(r"\s*(?:public|protected|private)\s*")
TEMPLATE = re.compile(r"^template\s*<")


@dataclass(frozen=True)
class Function:
    """A function with its length in lines, from its first word to its closing brace."""

    name: str
    first_line: int
    lines: int


def blank(text: str) -> str:
    """Return C++ with comments, literals and directives as spaces; lines stay where they are."""

    def spaces(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    return COMMENT_OR_LITERAL.sub(spaces, text)


def without_template(header: str) -> str:
    """Return a declaration without the ``template <...>`` before it."""
    header = header.strip()
    while TEMPLATE.match(header):
        depth = 0
        for at, letter in enumerate(header):
            depth += (letter == "<") - (letter == ">")
            if letter == ">" and depth == 0:
                header = header[at + 1 :].strip()
                break
        else:
            return header
    return header


def closing(text: str, opening: int) -> int:
    """Return where the brace that opens at a place is closed."""
    depth = 0
    for at in range(opening, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return at
    raise ValueError(f"a brace in line {text.count(chr(10), 0, opening) + 1} is never closed")


def initializes_member(header: str) -> bool:
    """Tell whether a brace after this header belongs to a constructor's initializer list."""
    after_parameters = re.search(r"\)\s*(?:noexcept\s*)?:(?!:)", header)
    return bool(after_parameters) and bool(re.search(r"[\w>]\s*$", header))


def cpp_functions(text: str) -> list[Function]:
    """Return the functions of a C++ file; what lies inside one, such as a lambda, counts as it."""
    code = blank(text)
    found = []
    at, start = 0, 0
    while at < len(code):
        letter = code[at]
        if letter in ";}" or (letter == ":" and ACCESS.fullmatch(code[start:at])):
            start = at + 1
        elif letter == "{":
            header = code[start:at]
            plain = without_template(header)
            if CONTAINER.match(plain):
                start = at + 1
            elif "(" in plain and not initializes_member(plain):
                end = closing(code, at)
                first = start + len(header) - len(header.lstrip())
                name = re.search(r"([\w:~]+|operator[^\w(]+)\s*\(", plain)
                line = code.count("\n", 0, first) + 1
                lines = code.count("\n", first, end) + 1
                found.append(Function(name[1] if name else plain[:20], line, lines))
                at, start = end, end + 1
            else:
                at = closing(code, at)
        at += 1
    return found


def python_functions(text: str) -> list[Function]:
    """Return the functions and methods of a Python file, without the lines of docstrings."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                words = node.body[0]
                lines -= (words.end_lineno or words.lineno) - words.lineno + 1
            found.append(Function(node.name, node.lineno, lines))
    return found


def long_functions(texts: Texts) -> list[str]:
    """Return ``path:line: name has N lines`` for every function over the limit."""
    return [
        f"{path}:{function.first_line}: {function.name} has {function.lines} lines"
        for path, text in texts.items()
        for function in (python_functions if path.endswith(".py") else cpp_functions)(text)
        if function.lines > FUNCTION_LINES
    ]


def long_files(texts: Texts, exceptions: dict[str, str]) -> list[str]:
    """Return ``path has N lines`` for every file over the limit that is no exception."""
    lengths = {path: text.count("\n") for path, text in texts.items()}
    too_long = {path: n for path, n in lengths.items() if n > FILE_LINES}
    found = [f"{p} has {n} lines" for p, n in too_long.items() if p not in exceptions]
    found += [f"{path} is an exception without need" for path in exceptions if path not in too_long]
    return found


def test_no_file_is_too_long(all_cpp: Texts, all_python: Texts) -> None:
    assert long_files(all_cpp | all_python, LONG_FILES) == []


def test_no_function_is_too_long(all_cpp: Texts, all_python: Texts) -> None:
    assert long_functions(all_cpp | all_python) == []


def test_most_files_have_functions_that_the_matcher_finds(cpp_code: Texts) -> None:
    sources = {path: text for path, text in cpp_code.items() if path.endswith(".cc")}
    found = sum(len(cpp_functions(text)) for text in sources.values())
    assert found > 2 * len(sources)


def test_planted_lengths_are_found() -> None:
    body = "x = 1\n" * FILE_LINES
    assert not long_files({"a.py": body}, {})
    assert long_files({"a.py": body + "\n"}, {}) == [f"a.py has {FILE_LINES + 1} lines"]
    assert not long_files({"a.py": body + "\n"}, {"a.py": "a reason"})
    assert long_files({"a.py": ""}, {"a.py": "a reason"}) == ["a.py is an exception without need"]
    statements = "  Call();\n" * FUNCTION_LINES
    assert long_functions({"a.cc": f"void F() {{\n{statements}}}\n"}) == ["a.cc:1: F has 62 lines"]
    lines = "    call()\n" * FUNCTION_LINES
    assert long_functions({"a.py": f"def f():\n{lines}"}) == ["a.py:1: f has 61 lines"]
    assert not long_functions({"a.py": f'def f():\n    """{lines}"""\n    call()\n'})


CPP = """
#define OPENS {
// { a comment
namespace rueda {
template <typename T, class U = std::vector<T>>
class Widget : public Base<decltype(F())> {
 public:
  explicit Widget(int n) : n_(n), list_{1, 2}, other_{n} {
    Call("}", '{');
  }
  int size() const { return n_; }
  bool operator==(const Widget&) const = default;
  enum class Kind { kOne, kTwo };
 private:
  int n_ = {3};
  std::array<int, 2> list_{1, 2};
};
template <typename T>
auto Visit(T&& value) -> decltype(value()) {
  if (value) {
    return value([](int x) { return x; });
  }
  return R"x(}}})x";
}
constexpr std::array kTable{Row{"A", 1},
                            Row{"B", 2}};
}  // namespace rueda
TEST_CASE("a brace } in a name") {
  REQUIRE(true);
}
extern "C" {
void Plain() {}
}
struct Pair MakePair(int a) {
  return {a, a};
}
"""


def test_the_matcher_finds_functions_and_nothing_else() -> None:
    assert [(f.name, f.lines) for f in cpp_functions(CPP)] == [
        ("Widget", 3),
        ("size", 1),
        ("Visit", 7),
        ("TEST_CASE", 3),
        ("Plain", 1),
        ("MakePair", 3),
    ]
