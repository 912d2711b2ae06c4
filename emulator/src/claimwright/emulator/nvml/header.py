"""Read an installed nvml.h: its functions, its record sizes and its version words.

Nothing of the header's text is kept; the generator turns these facts into our own tables.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from claimwright.emulator.nvml.errors import HeaderMissing
from claimwright.emulator.nvml.header_types import CType, read_types

HEADER_DISTRIBUTION = "nvidia-nvml-dev"

# The deprecation attribute is compiler syntax that pycparser does not know; it changes no layout.
_PREPROCESS = ("gcc", "-E", "-P", "-DNVML_NO_UNVERSIONED_FUNC_DEFS", "-D__attribute__(x)=")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its name, the named C type under it, how many stars stand before it, and whether it is const."""

    name: str
    type_name: str
    pointers: int
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """One exported function, by its C name."""

    name: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """The facts of one nvml.h."""

    version: str
    functions: tuple[Function, ...]
    sizes: Mapping[str, int]  # bytes of each record type
    version_words: Mapping[str, int]  # record type -> the word its `version` member must hold
    types: tuple[CType, ...] = ()  # every named type, in the header's order


def installed_header() -> tuple[Path, str]:
    """Find nvml.h and its package version; raises HeaderMissing with the package to install."""
    try:
        package = distribution(HEADER_DISTRIBUTION)
    except PackageNotFoundError:
        raise HeaderMissing(HEADER_DISTRIBUTION) from None
    for file in package.files or ():
        if file.name == "nvml.h":
            return Path(str(package.locate_file(file))), package.version
    raise HeaderMissing(HEADER_DISTRIBUTION)


def read_header(path: Path, version: str) -> Header:
    """Parse the header with the C preprocessor and pycparser, and ask the compiler for sizes."""
    from pycparser import CParser  # noqa: PLC0415 - a development package, needed by this call alone

    text = subprocess.run([*_PREPROCESS, str(path)], check=True, capture_output=True, text=True, timeout=60)
    tree = CParser().parse(text.stdout)
    records = tuple(_records(tree))
    versioned = _versioned_records(path)
    sizes, words = _ask_compiler(path, records, versioned)
    return Header(version, tuple(_functions(tree)), sizes, words, read_types(tree))


def _functions(tree: Any) -> Iterator[Function]:  # noqa: ANN401 - pycparser has no types
    from pycparser import c_ast  # noqa: PLC0415

    for node in tree.ext:
        if isinstance(node, c_ast.Decl) and isinstance(node.type, c_ast.FuncDecl):
            declared = node.type.args.params if node.type.args else ()
            parameters = tuple(_parameter(item) for item in declared if not isinstance(item, c_ast.Typename))
            yield Function(node.name, parameters)


def _parameter(node: Any) -> Parameter:  # noqa: ANN401 - pycparser has no types
    from pycparser import c_ast  # noqa: PLC0415

    pointers, kind = 0, node.type
    while isinstance(kind, c_ast.PtrDecl):
        pointers, kind = pointers + 1, kind.type
    return Parameter(node.name, " ".join(kind.type.names), pointers, "const" in kind.quals)


def _records(tree: Any) -> Iterator[str]:  # noqa: ANN401 - pycparser has no types
    from pycparser import c_ast  # noqa: PLC0415

    for node in tree.ext:
        if isinstance(node, c_ast.Typedef) and isinstance(node.type, c_ast.TypeDecl):
            inner = node.type.type
            if isinstance(inner, c_ast.Struct | c_ast.Union | c_ast.IdentifierType) and node.name.endswith(
                "_t"
            ):
                yield node.name


def _versioned_records(path: Path) -> tuple[str, ...]:
    macros = subprocess.run(
        ["gcc", "-E", "-dM", str(path)], check=True, capture_output=True, text=True, timeout=60
    )
    found = re.findall(r"#define (nvml\w+_v\d+) NVML_STRUCT_VERSION\(", macros.stdout)
    return tuple(sorted(found))


def _ask_compiler(
    path: Path, records: tuple[str, ...], versioned: tuple[str, ...]
) -> tuple[dict[str, int], dict[str, int]]:
    """Let the compiler write each number into an assembly constant: sizes are its to decide, not ours."""
    lines = [f'#include "{path}"']
    body = [f'__asm__("#SIZE {name} %c0" :: "i"(sizeof({name})));' for name in records]
    body += [f'__asm__("#WORD {name} %c0" :: "i"({name}));' for name in versioned]
    source = "\n".join([*lines, "void f(void) {", *body, "}"])
    made = subprocess.run(
        ["gcc", "-w", "-S", "-x", "c", "-o", "-", "-"],
        input=source,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    sizes = {name: int(number) for name, number in re.findall(r"#SIZE (\w+) (\d+)", made.stdout)}
    words = {f"{name}_t": int(number) for name, number in re.findall(r"#WORD (\w+) (\d+)", made.stdout)}
    return sizes, words
