"""Which events belong to a noise level, a half or a realisation: decided by a counter, stored
nowhere.

Event i of a study gets a uniform number from a hash of (seed, study, purpose, i). A noise level
keeps the events whose number lies below its share; halves and realisations partition the events by
it. So any part can be recomputed alone, in any order and chunking, and costs no disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numba as nb
import numpy as np

from ..config.roles import Sample
from ..runtime.seeds import derive
from .events import part

CHUNK = 1 << 22


def keep(sample: Sample, start: int, count: int, seed: int, study: str) -> np.ndarray:
    """Which of the events start .. start + count - 1 of `study` belong to `sample`, (count,)
    bool.
    """
    thin = np.uint64(derive(seed, "subsample", study, "thin", f"{sample.share:.9f}"))
    split = np.uint64(derive(seed, "subsample", study, "split", sample.parts))
    return _keep(start, count, thin, split, sample.share, sample.part, sample.parts)


def count(
    samples: Sequence[Sample],
    n_events: int,
    seed: int,
    study: str,
    threads: int = 1,
    chunk: int = CHUNK,
) -> dict[str, int]:
    """Number of events of every sample, in one pass that needs no event: their numbers decide."""

    def work(start: int) -> list[int]:
        size = min(chunk, n_events - start)
        return [int(keep(sample, start, size, seed, study).sum()) for sample in samples]

    total = np.zeros(len(samples), np.int64)
    with ThreadPoolExecutor(threads) as pool:
        for counts in pool.map(work, range(0, n_events, chunk)):
            total += counts
    return dict(zip((s.name for s in samples), total.tolist(), strict=True))


def take(
    sample: Sample, arrays: Sequence[np.ndarray], seed: int, study: str, chunk: int = CHUNK
) -> list[np.ndarray]:
    """The sample's entries of arrays that hold one value an event, memory-mapped or not; memory
    stays at the result's.

    Raises ValueError when the arrays' lengths differ.
    """
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1:
        raise ValueError(
            f"subsample: arrays of one length expected, got {' and '.join(map(str, sorted(lengths)))}"
        )
    n_events, parts = lengths.pop(), []
    for start in range(0, n_events, chunk):
        kept = keep(sample, start, min(chunk, n_events - start), seed, study)
        parts.append([part(array, start, chunk)[kept] for array in arrays])
    if not parts:
        return [np.asarray(array) for array in arrays]
    return [np.concatenate([some.pop(0) for some in parts]) for _ in arrays]


def check_counts(samples: Sequence[Sample], counts: Mapping[str, int], n_events: int) -> None:
    """Raise ValueError where a count lies 6 standard deviations off the binomial mean, or a
    partition leaks.
    """
    for sample in samples:
        mean = n_events * sample.fraction
        spread = (mean * (1 - sample.fraction)) ** 0.5
        if abs(counts[sample.name] - mean) > 6 * spread + 1:
            raise ValueError(
                f"subsample: {sample.name}: expected {mean:.0f} +- {spread:.0f} events, got {counts[sample.name]}"
            )
    partition = [s for s in samples if s.parts > 1 and s.share == 1.0]
    if partition and (total := sum(counts[s.name] for s in partition)) != n_events:
        raise ValueError(
            f"subsample: the {len(partition)} realisations hold {total} events, the study {n_events}"
        )


@nb.njit(inline="always")
def _hash(key, index):  # type: ignore[no-untyped-def]
    """The index-th output of splitmix64 seeded by `key`, as a uniform number in [0, 1)."""
    z = key + (np.uint64(index) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@nb.njit(cache=True, nogil=True)
def _keep(start, count, thin, split, share, part, parts):  # type: ignore[no-untyped-def]
    out = np.empty(count, np.bool_)
    for i in range(count):
        inside = share >= 1.0 or _hash(thin, start + i) < share
        out[i] = inside and (parts == 1 or int(_hash(split, start + i) * parts) == part)
    return out
