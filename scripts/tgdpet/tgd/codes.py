"""Sets of numbers that tell any number from any other, for tests of many things at once."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor


def code_sets(n: int) -> Tensor:
    """Boolean (sets, n): number i is in exactly half of the sets, and for any two numbers there is
    a set that holds the first and not the second (Sperner 1928).

    Some log2 n sets: 12 for 512 numbers. For a single number, one set that holds it.
    """
    n_sets = 1
    while math.comb(n_sets, n_sets // 2) < n:
        n_sets += 1

    size = max(1, n_sets // 2)
    words = itertools.islice(itertools.combinations(range(n_sets), size), n)
    sets = torch.zeros(n_sets, n, dtype=torch.bool)
    sets[torch.tensor(list(words)).T, torch.arange(n)] = True

    return sets


def decode(sets: Tensor, seen: Tensor) -> Tensor:
    """The number of which `seen` (sets, m) holds the sets, for each of m columns: int64 (m,).

    -1 where no set was seen, -2 where the sets are those of several numbers together.
    """
    n_sets, _ = sets.shape
    powers = 2 ** torch.arange(n_sets)
    word_of = (sets * powers[:, None]).sum(dim=0)
    sorted_words, number_of = word_of.sort()

    word = (seen * powers[:, None]).sum(dim=0)
    place = torch.searchsorted(sorted_words, word).clamp_max(len(word_of) - 1)
    is_word = sorted_words[place] == word

    # Two numbers have more sets together than one has.
    several = torch.where(seen.any(dim=0), -2, -1)
    return torch.where(is_word, number_of[place], several)
