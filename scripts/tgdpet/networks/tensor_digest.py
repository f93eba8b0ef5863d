"""The digest of tensors and of what their file says of them, kept in the latter.

In one entry of the metadata, as safetensors writes several in any order and the same network is the
same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..io.digests import KEY, compare, digest_of, taken_from


def with_digest(content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """`content` as JSON text, with the digest of it and the tensors."""
    # As it is read again: tuples are lists then.
    plain = json.loads(json.dumps(content))
    digest = digest_of(_parts(plain, tensors))

    return json.dumps({**plain, KEY: digest}, sort_keys=True)


def without_digest(
    path: str | Path, content: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> dict[str, Any]:
    """What `with_digest` was given; ValueError naming the file when it or the tensors differ."""
    noted, plain = taken_from(path, content)
    compare(path, noted, digest_of(_parts(plain, tensors)))

    return plain


def _parts(
    content: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Iterator[bytes | memoryview]:
    yield json.dumps(content, sort_keys=True).encode()

    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        yield f"{name} {tensor.dtype} {list(tensor.shape)}".encode()
        yield tensor.reshape(-1).view(torch.uint8).numpy().data
