"""What one file alone may do, or none: read the environment, pickle, sleep, leave notes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

Texts = dict[str, str]

ENVIRONMENT_CC = "csrc/core/config.cc"
ENVIRONMENT_PY = "python/rueda/_environment.py"
PICKLE_PY = "python/rueda/_pickled.py"

CPP_ENVIRONMENT = r"\b(?:secure_)?getenv\b|\benviron\b|\b(?:set|unset|put|clear)env\b"
CPP_SLEEP = r"\b(?:sleep_for|sleep_until|usleep|nanosleep|clock_nanosleep)\b|\bsleep\s*\("
CPP_DETACH = r"\bdetach\s*\("
CPP_PICKLE = r"\bc?(?:loud)?pickle\b"
PYTHON_ENVIRONMENT = {f"os.{n}" for n in ("environ", "environb", "getenv", "getenvb", "putenv")}
PYTHON_ENVIRONMENT |= {"os.unsetenv"}
PYTHON_PICKLE = {"pickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "jsonpickle"}
PYTHON_SLEEP = {"time.sleep", "asyncio.sleep"}
NOTES = re.compile(r"\b(?:" + "|".join(["TO" + "DO", "FIX" + "ME", "HA" + "CK", "X" * 3]) + r")\b")

# Comments, and the contents of string and character literals, of C++.
CPP_NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"|'
    r"'(?:\\.|[^'\\\n])'",
    re.DOTALL,
)


def without_comments(text: str) -> str:
    """Return C++ code with comments blanked, and with literals as they are."""
    return CPP_NOT_CODE.sub(lambda m: " " if m[0].startswith(("//", "/*")) else m[0], text)


def cpp_breaches(texts: Texts, pattern: str, allowed: str | None = None) -> list[str]:
    """Return ``path: words`` for every match of a pattern in code, but in one allowed file."""
    return [
        f"{path}: {match[0]}"
        for path, text in texts.items()
        if path != allowed
        for match in re.finditer(pattern, without_comments(text))
    ]


def dotted_names(text: str) -> Iterator[str]:
    """Yield ``module``, ``module.name`` for all that a Python file imports or looks up in a module.

    ``import os as system; system.environ`` gives ``os.environ``, too.
    """
    tree = ast.parse(text)
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                aliases[name.asname or name.name.split(".")[0]] = name.name
                yield name.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{aliases.get(node.value.id, node.value.id)}.{node.attr}"


def python_breaches(texts: Texts, names: set[str], allowed: str | None = None) -> list[str]:
    """Return ``path: name`` for every use of a name, or of a module, but in one allowed file."""
    return [
        f"{path}: {name}"
        for path, text in texts.items()
        if path != allowed
        for name in sorted(set(dotted_names(text)))
        if name in names or name.split(".")[0] in names
    ]


def notes(texts: Texts) -> list[str]:
    """Return every note to oneself, which a reader can do nothing with."""
    return [f"{path}: {m[0]}" for path, text in texts.items() for m in NOTES.finditer(text)]


def test_one_cpp_file_reads_the_environment(cpp_code: Texts) -> None:
    assert cpp_breaches(cpp_code, CPP_ENVIRONMENT, ENVIRONMENT_CC) == []
    assert cpp_breaches({ENVIRONMENT_CC: cpp_code[ENVIRONMENT_CC]}, CPP_ENVIRONMENT)


def test_one_python_file_reads_the_environment(python_code: Texts) -> None:
    assert python_breaches(python_code, PYTHON_ENVIRONMENT, ENVIRONMENT_PY) == []
    assert python_breaches({ENVIRONMENT_PY: python_code[ENVIRONMENT_PY]}, PYTHON_ENVIRONMENT)


def test_one_python_file_pickles(python_code: Texts) -> None:
    assert python_breaches(python_code, PYTHON_PICKLE, PICKLE_PY) == []
    assert python_breaches({PICKLE_PY: python_code[PICKLE_PY]}, PYTHON_PICKLE)


def test_cpp_does_not_pickle(cpp_code: Texts) -> None:
    assert cpp_breaches(cpp_code, CPP_PICKLE) == []


def test_nothing_sleeps(all_cpp: Texts, all_python: Texts) -> None:
    assert cpp_breaches(all_cpp, CPP_SLEEP) == []
    assert python_breaches(all_python, PYTHON_SLEEP) == []


def test_no_thread_is_detached(cpp_code: Texts) -> None:
    assert cpp_breaches({p: t for p, t in cpp_code.items() if "torch/" not in p}, CPP_DETACH) == []


def test_nobody_leaves_notes_to_oneself(texts_of) -> None:
    suffixes = (".cc", ".h", ".inc", ".py", ".pyi", ".md", ".txt", ".cmake", ".sh", ".toml", ".in")
    assert notes(texts_of(".", suffixes=suffixes)) == []


def test_planted_cpp_is_found() -> None:
    planted = {
        CPP_ENVIRONMENT: ('std::getenv("X")', "extern char **environ;", 'setenv("A", "b", 1)'),
        CPP_SLEEP: ("std::this_thread::sleep_for(x)", "::usleep(3)", "sleep (1)"),
        CPP_DETACH: ("thread.detach();",),
        CPP_PICKLE: ('py::module_::import("pickle")', 'import("cloudpickle")'),
    }
    for pattern, lines in planted.items():
        for line in lines:
            assert cpp_breaches({"a.cc": line}, pattern), line
            assert not cpp_breaches({"a.cc": line}, pattern, allowed="a.cc")
            assert not cpp_breaches({"a.cc": f"// {line}\n/* {line} */ int x;"}, pattern), line


def test_a_comment_mark_inside_a_string_hides_nothing() -> None:
    assert cpp_breaches({"a.cc": 'Open("https://x"); usleep(3);'}, CPP_SLEEP)
    assert cpp_breaches({"a.cc": "char c = '\"'; usleep(3); // \""}, CPP_SLEEP)


def test_planted_python_is_found() -> None:
    planted = [
        ("import os\nos.environ['X']", PYTHON_ENVIRONMENT),
        ("import os as system\nsystem.getenv('X')", PYTHON_ENVIRONMENT),
        ("from os import environ", PYTHON_ENVIRONMENT),
        ("def f():\n    import pickle", PYTHON_PICKLE),
        ("from cloudpickle import dumps", PYTHON_PICKLE),
        ("import time\ntime.sleep(1)", PYTHON_SLEEP),
        ("from time import sleep", PYTHON_SLEEP),
    ]
    for text, names in planted:
        assert python_breaches({"a.py": text}, names), text
        assert not python_breaches({"a.py": text}, names, allowed="a.py")
    assert not python_breaches({"a.py": "# os.environ\n'time.sleep'"}, PYTHON_ENVIRONMENT)


def test_a_planted_note_is_found() -> None:
    assert notes({"a.md": "TO" + "DO: later"})
    assert not notes({"a.md": "mastodon"})
