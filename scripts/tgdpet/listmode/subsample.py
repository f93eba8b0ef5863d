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
from ..runtime.compiled import njit
from ..runtime.seeds import derive
from .events import part

EVENTS_PER_PIECE = 1 << 22


def keep(sample: Sample, start: int, size: int, seed: int, study: str) -> np.ndarray:
    """Which events start .. start + size - 1 of `study` belong to `sample`: (size,) bool."""
    thin_key = derive(seed, "subsample", study, "thin", f"{sample.share:.9f}")
    split_key = derive(seed, "subsample", study, "split", sample.parts)

    return _keep(
        start,
        size,
        np.uint64(thin_key),
        np.uint64(split_key),
        sample.share,
        sample.part,
        sample.parts,
    )


def count_events(
    samples: Sequence[Sample],
    n_events: int,
    seed: int,
    study: str,
    threads: int = 1,
    chunk: int = EVENTS_PER_PIECE,
) -> dict[str, int]:
    """Number of events of every sample, in one pass that needs no event: their numbers decide."""

    def counts_from(start: int) -> list[int]:
        size = min(chunk, n_events - start)

        counts = []
        for sample in samples:
            kept = keep(sample, start, size, seed, study)
            counts.append(int(kept.sum()))
        return counts

    total = np.zeros(len(samples), np.int64)
    with ThreadPoolExecutor(threads) as pool:
        for counts in pool.map(counts_from, range(0, n_events, chunk)):
            total += counts

    names = [sample.name for sample in samples]
    return dict(zip(names, total.tolist(), strict=True))


def in_any(samples: Sequence[Sample], n_events: int, seed: int, study: str) -> np.ndarray:
    """Which events of `study` belong to at least one of `samples`: (n_events,) bool."""
    if any(sample.fraction >= 1 for sample in samples):
        return np.ones(n_events, np.bool_)

    kept = np.zeros(n_events, np.bool_)
    for sample in samples:
        kept |= keep(sample, 0, n_events, seed, study)

    return kept


def taken(
    kept: np.ndarray, arrays: Sequence[np.ndarray], chunk: int = EVENTS_PER_PIECE
) -> list[np.ndarray]:
    """The entries that `kept` (n,) bool says of arrays (n,) with one value an event.

    The arrays may be memory-mapped: memory stays at the result's. Raises ValueError when the
    lengths differ.
    """
    lengths = {len(array) for array in (kept, *arrays)}
    if len(lengths) != 1:
        came = " and ".join(map(str, sorted(lengths)))
        raise ValueError(f"subsample: arrays of one length expected, got {came}")

    n_kept = int(np.count_nonzero(kept))
    results = [np.empty(n_kept, array.dtype) for array in arrays]
    n_done = 0

    for start in range(0, len(kept), chunk):
        of_chunk = kept[start : start + chunk]
        n_new = int(np.count_nonzero(of_chunk))

        for array, result in zip(arrays, results, strict=True):
            result[n_done : n_done + n_new] = part(array, start, chunk)[of_chunk]
        n_done += n_new

    return results


def check_counts(samples: Sequence[Sample], counts: Mapping[str, int], n_events: int) -> None:
    """Check the counts of samples of a study of `n_events`.

    Raises ValueError where a count lies 6 standard deviations off the binomial mean, or the
    realisations of a partition do not add up to the study.
    """
    for sample in samples:
        n_kept = counts[sample.name]
        mean = n_events * sample.fraction
        spread = (mean * (1 - sample.fraction)) ** 0.5

        if abs(n_kept - mean) > 6 * spread + 1:
            raise ValueError(
                f"subsample: {sample.name}: expected {mean:.0f} +- {spread:.0f} events, "
                f"got {n_kept}"
            )

    partition = [s for s in samples if s.parts > 1 and s.share == 1.0]
    total = sum(counts[s.name] for s in partition)

    if partition and total != n_events:
        raise ValueError(
            f"subsample: the {len(partition)} realisations hold {total} events, "
            f"the study {n_events}"
        )


@nb.njit(inline="always")
def _hash(key, index):  # type: ignore[no-untyped-def]
    """The index-th output of splitmix64 seeded by `key`, as a uniform number in [0, 1)."""
    z = key + (np.uint64(index) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))

    # the highest 53 bits
    return np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(nogil=True)
def _keep(start, size, thin_key, split_key, share, part, parts):  # type: ignore[no-untyped-def]
    kept = np.empty(size, np.bool_)

    for i in range(size):
        in_level = share >= 1.0 or _hash(thin_key, start + i) < share

        if in_level and parts > 1:
            number = int(_hash(split_key, start + i) * parts)
            kept[i] = number == part
        else:
            kept[i] = in_level

    return kept
