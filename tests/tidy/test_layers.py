"""Who may include whom: the table of docs/architecture.md, held against every #include."""

from __future__ import annotations

import re
from dataclasses import dataclass

Texts = dict[str, str]


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        layers: Layers, folders or single headers that may be included besides the own layer.
        system: Headers of the operating system that may be included; None for any.
    """

    layers: frozenset[str]
    system: frozenset[str] | None = frozenset()


def row(layers: str, system: str | None = "") -> Row:
    return Row(frozenset(layers.split()), None if system is None else frozenset(system.split()))


TABLE = {
    "core": row("", system="unistd.h"),  # environ and write
    "device": row("core", system="arm_neon.h immintrin.h xmmintrin.h"),
    "transport": row("core", system=None),
    "control": row("core"),
    "timeline": row("core transport control", system=None),
    "collectives": row("core device transport"),
    "backends": row("core device transport collectives", system=None),
    "engine": row("core device transport control timeline collectives backends", system=None),
    "bench": row("core device transport control backends engine", system=None),
    # The arena as the engine hands it out, how to copy into it, and how to let go of the GIL.
    "torch": row("core control engine transport/arena.h device/copy.h bindings/no_gil.h"),
    "bindings": row("core control engine transport bench", system="cxxabi.h unistd.h"),
}
PYBIND11_IN_TORCH = (
    "torch/module.cc",
    "torch/module_operations.cc",
    "torch/module_parts.h",
    "torch/module_reducer.cc",
)
# Third-party libraries, and the only files or folders that may include them.
LIBRARIES = {
    "ATen/": ("torch/",),
    "c10/": ("torch/",),
    "torch/": ("torch/",),
    "pybind11/": ("bindings/", *PYBIND11_IN_TORCH),
    "Python.h": ("bindings/no_gil.h",),
    "structmember.h": ("bindings/shortcut.cc",),
    "gloo/": ("backends/gloo/plugin/",),
    "mpi.h": ("backends/mpi/",),
    "nccl.h": ("backends/nccl/",),
    "cuda": ("device/cuda/",),
}
# Headers of PyTorch that bring pybind11 with them.
HIDDEN_PYBIND11 = ("torch/csrc/utils/pybind.h", "torch/extension.h")
SYSTEM_FOLDERS = ("sys/", "linux/", "netinet/", "arpa/")

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


def inside(path: str, places: tuple[str, ...]) -> bool:
    return any(
        path == place or (place.endswith("/") and path.startswith(place)) for place in places
    )


def layer_of(path: str) -> str:
    return path.partition("/")[0]


def quoted_breach(path: str, header: str, known: set[str]) -> str | None:
    """Say what is wrong with including one of our own headers, if anything is."""
    layer, other = layer_of(path), layer_of(header)
    if header not in known:
        return "no such file under csrc"
    if other != layer and not {other, header} & TABLE[layer].layers:
        return f"layer {layer} may not include {other}"
    if other == layer == "backends" and header.count("/") > 1:
        mine, its = path.split("/")[1], header.split("/")[1]
        if mine != its:
            return f"backend {mine} may not include backend {its}"
    return None


def system_breach(path: str, header: str) -> str | None:
    """Say what is wrong with including a header in angle brackets, if anything is."""
    if header in HIDDEN_PYBIND11 and path not in PYBIND11_IN_TORCH:
        return "pybind11 comes with this, and is for the files of the Python module alone"
    for library, places in LIBRARIES.items():
        if header.startswith(library):
            return None if inside(path, places) else f"{library} is only for {', '.join(places)}"
    if "/" in header and not header.startswith(SYSTEM_FOLDERS):
        return "a library that the table in this test does not know"
    layer = layer_of(path)
    allowed = TABLE[layer].system
    if header.endswith(".h") and allowed is not None and header not in allowed:
        return f"layer {layer} may not use the operating system"
    return None


def include_breaches(texts: Texts) -> list[str]:
    """Return every include that the table does not allow; paths are relative to csrc."""
    found = []
    for path, text in texts.items():
        if layer_of(path) not in TABLE:
            found.append(f"{path}: a layer that the table does not know")
            continue
        for quoted, angled in INCLUDE.findall(text):
            reason = (
                quoted_breach(path, quoted, set(texts)) if quoted else system_breach(path, angled)
            )
            if reason:
                found.append(f"{path}: {quoted or angled}: {reason}")
    return found


def folder_cycle(texts: Texts) -> list[str]:
    """Return folders that include each other in a circle, or nothing."""
    edges: dict[str, set[str]] = {}
    for path, text in texts.items():
        folder = path.rpartition("/")[0]
        targets = {quoted.rpartition("/")[0] for quoted, _ in INCLUDE.findall(text) if quoted}
        edges.setdefault(folder, set()).update(targets - {folder})
    done: set[str] = set()

    def visit(folder: str, way: list[str]) -> list[str]:
        if folder in way:
            return [*way[way.index(folder) :], folder]
        if folder not in done:
            for target in sorted(edges.get(folder, ())):
                if circle := visit(target, [*way, folder]):
                    return circle
            done.add(folder)
        return []

    return next((circle for folder in sorted(edges) if (circle := visit(folder, []))), [])


def link_breaches(cmake: Texts) -> list[str]:
    """Return every link between layer targets that their rows do not allow."""
    found = []
    for path, text in cmake.items():
        for name, body in re.findall(r"rueda_layer\(\s*(\w+)([^)]*)\)", text):
            links = body.partition("LINKS")[2].split()
            for link in links:
                mine, its = layer_of_target(name), layer_of_target(link)
                if its != mine and its not in TABLE[mine].layers:
                    found.append(f"{path}: {name} may not link {link}")
    return found


def layer_of_target(name: str) -> str:
    word = name.removeprefix("rueda_").split("_")[0]
    return word if word in TABLE else "backends"  # rueda_backend_shm, rueda_gloo_loader


def from_csrc(texts: Texts) -> Texts:
    return {path.removeprefix("csrc/"): text for path, text in texts.items()}


def test_every_include_is_in_the_table(cpp_code: Texts) -> None:
    assert include_breaches(from_csrc(cpp_code)) == []


def test_folders_do_not_include_each_other_in_a_circle(cpp_code: Texts) -> None:
    assert folder_cycle(from_csrc(cpp_code)) == []


def test_every_link_between_layers_is_in_the_table(texts_of) -> None:
    assert link_breaches(texts_of("csrc", suffixes=("CMakeLists.txt",))) == []


def test_planted_includes_are_found() -> None:
    base = {f"{layer}/x.h": "" for layer in TABLE} | {
        "backends/shm/x.h": "",
        "transport/arena.h": "",
    }
    planted = {
        "core/a.cc": '#include "device/x.h"',
        "core/b.cc": "#include <sys/socket.h>",
        "control/c.cc": "#include <poll.h>",
        "control/d.cc": '#include "transport/x.h"',
        "transport/e.cc": '#include "collectives/x.h"',
        "backends/gloo/f.cc": '#include "backends/shm/x.h"',
        "backends/gloo/g.cc": "  #  include <gloo/context.h>",
        "torch/h.cc": "#include <torch/csrc/utils/pybind.h>",
        "torch/i.cc": '#include "transport/x.h"',
        "torch/j.cc": "#include <pybind11/pybind11.h>",
        "bindings/k.cc": "#include <ATen/core/Tensor.h>",
        "engine/l.cc": "#include <boost/asio.hpp>",
        "core/m.cc": '#include "core/gone.h"',
        "extra/n.cc": "",
    }
    breaches = include_breaches(base | planted)
    assert sorted(line.split(":")[0] for line in breaches) == sorted(planted)


def test_what_the_table_allows_is_not_found() -> None:
    texts = {
        "core/x.h": "#include <vector>",
        "transport/arena.h": '#include "core/x.h"\n#include <sys/mman.h>',
        "backends/backend.h": '#include "core/x.h"',
        "backends/shm/y.cc": '#include "backends/backend.h"',
        "backends/gloo/plugin/y.cc": "#include <gloo/context.h>",
        "torch/module.cc": '#include <torch/csrc/utils/pybind.h>\n#include "transport/arena.h"',
        "bindings/y.cc": '#include <pybind11/stl.h>\n#include "transport/arena.h"',
    }
    assert include_breaches(texts) == []


def test_a_planted_circle_is_found() -> None:
    texts = {
        "a/x.h": '#include "b/x.h"',
        "b/x.h": '#include "c/x.h"',
        "c/x.h": '#include "c/y.h"',
        "c/y.h": '#include "a/y.h"',
        "a/y.h": "",
    }
    assert folder_cycle(texts) == ["a", "b", "c", "a"]


def test_a_planted_link_is_found() -> None:
    text = "rueda_layer(rueda_control SOURCES a.cc\n  LINKS rueda_core rueda_transport)"
    assert len(link_breaches({"csrc/control/CMakeLists.txt": text})) == 1
