"""Kernels that numba caches on disk take numbers, arrays and plain tuples of them: the cache names
the classes of other arguments, and fails to load where one was renamed since.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

LIBRARY = Path(__file__).parents[2] / "scripts" / "tgdpet"
OF_ARRAYS = {"shape", "size", "dtype", "ravel", "reshape", "copy"}
RECORDS = {"state"}  # entries of arrays


def cached_kernels(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            # `runtime.compiled.njit` caches; numba's own, which is called `nb.njit`, does not.
            decorators = [ast.unparse(each) for each in node.decorator_list]
            if any(decorator.startswith("njit(") for decorator in decorators):
                yield node


def fields_read(kernel: ast.FunctionDef) -> set[str]:
    """The attributes of its arguments that a kernel reads, but those of arrays."""
    arguments = {argument.arg for argument in kernel.args.args} - RECORDS
    read = set()

    for node in ast.walk(kernel):
        if not isinstance(node, ast.Attribute) or node.attr in OF_ARRAYS:
            continue
        if isinstance(node.value, ast.Name) and node.value.id in arguments:
            read.add(f"{node.value.id}.{node.attr}")

    return read


def test_no_cached_kernel_takes_an_object_of_a_class():
    kernels = [(path, kernel) for path in LIBRARY.rglob("*.py") for kernel in cached_kernels(path)]
    assert len(kernels) > 10

    read = {
        f"{path.relative_to(LIBRARY)} {kernel.name}": fields_read(kernel)
        for path, kernel in kernels
    }
    assert {name: fields for name, fields in read.items() if fields} == {}
