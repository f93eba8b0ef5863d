"""Which kernels feed which convolution, in any network: cut it at its convolutions and probe with
autograd.

With a leaf in place of every convolution's output, the gradient of input channel j of a convolution
with respect to a leaf is non-zero in the kernels that reach j with no other convolution between.
That holds through activations, pooling, adds, concatenation, chunks, PixelShuffle and control flow
alike. Runs go on until one more pair of them finds nothing new. Then kernels are redrawn and every
convolution's input compared: a channel that changes though no link says so is reached by a way that
autograd does not see, and an error says where.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .cut_network import BATCHNORM_LAYERS, CONVS, INPUT, CutNetwork, Draw, Record, TraceError

__all__ = [
    "BATCHNORM_LAYERS",
    "CONVS",
    "INPUT",
    "Connections",
    "Link",
    "TraceError",
    "connections",
    "followers",
    "links",
]

TURNS = 8
SAMPLE = 16
TOLERANCE = 1e-5  # of an input's largest value: rounding on a GPU that adds in no fixed order


@dataclass(frozen=True)
class Link:
    """`reach[p, c]`: output channel p of `producer` reaches input channel c of `consumer`, no
    convolution between.

    `producer` is INPUT for the network's own input, taken as a whole: one row, all True.
    """

    producer: str
    consumer: str
    reach: Tensor


@dataclass(frozen=True)
class Connections:
    """All links, and by module the kernels that reach the network's output with no convolution
    between.
    """

    links: list[Link]
    outputs: dict[str, Tensor]


@dataclass
class _Found:
    """The union over runs; `news` is the last link that was new."""

    links: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    norms: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    kernels: dict[str, int] = field(default_factory=dict)
    size: int = 0
    news: str = ""


def links(
    model: torch.nn.Module, example_input: Any, *, unused: Collection[str] = ()
) -> list[Link]:
    """Every producer-consumer pair of convolutions, in order of the consumers' calls; masks on the
    CPU.
    """
    return connections(model, example_input, unused=unused).links


@contextmanager
def _gradients() -> Iterator[None]:
    """Gradients in float32, whatever the caller has switched off."""
    full = [torch.autocast(kind, enabled=False) for kind in ("cpu", "cuda")]
    with torch.inference_mode(False), torch.enable_grad(), full[0], full[1]:
        yield


@_gradients()
def connections(
    model: torch.nn.Module, example_input: Any, *, unused: Collection[str] = ()
) -> Connections:
    """Which kernels every convolution and the network's output read; masks on the CPU.

    `example_input`: a tensor, or a tuple or mapping of arguments. The network is a copy in
    evaluation mode and, where that leaves convolutions uncalled, in training mode too. `unused`
    names those that are never called. Raises TraceError naming the module whose forward is not
    called, whose input depends on kernels by a way that autograd does not see (detach, numpy,
    indices), whose links change with the data, or which hides a convolution in a function call.
    """
    net = CutNetwork(model, example_input)
    if unknown := sorted(set(unused) - set(net.convs)):
        raise TraceError(
            f"unused: expected names of convolutions of the model, got {', '.join(unknown)}"
        )
    found = _Found()
    for _ in _modes(net, unused):
        _merge(found, net.run())
        _until_stable(net, found)
    return Connections([Link(p, c, reach) for (p, c), reach in found.links.items()], found.outputs)


@_gradients()
def followers(model: torch.nn.Module, example_input: Any) -> dict[str, list[str]]:
    """The norm layers that follow each convolution: every channel depends on that kernel of it, and
    nothing else.
    """
    net = CutNetwork(model, example_input)
    found = _Found()
    for _ in _modes(net, net.convs):
        for record in (net.run(), net.run(Draw(0)), net.run(Draw(0, -1))):
            for name, x, axis in record.norms:
                for producer, reach in _reach(x, axis, record).items():
                    _join(found.norms, (producer, name), reach)
    by_norm: dict[str, list[tuple[str, Tensor]]] = defaultdict(list)
    for (producer, norm), reach in found.norms.items():
        by_norm[norm].append((producer, reach))
    out: dict[str, list[str]] = defaultdict(list)
    for norm, [(producer, reach), *others] in by_norm.items():
        one_to_one = reach.shape[0] == reach.shape[1] and bool(
            (reach == torch.eye(len(reach), dtype=torch.bool)).all()
        )
        if not others and producer != INPUT and one_to_one:
            out[producer].append(norm)
    return dict(out)


def _modes(net: CutNetwork, unused: Collection[str]) -> Iterator[None]:
    """Evaluation mode, then training mode if convolutions (heads of deep supervision) were not
    called before.
    """
    for train in (False, True):
        net.twin.train(train)
        yield
        if not set(net.convs) - net.called:
            return
    if missing := [n for n in net.convs if n not in net.called and n not in unused]:
        raise TraceError(
            f"module {missing[0]!r}: its forward was not called for this input, so that what it reads cannot be found; "
            "give an example_input that runs it, or name it in unused= if nothing ever does"
        )


def _until_stable(net: CutNetwork, found: _Found) -> None:
    """Add runs until a pair of opposite signs finds no new link and redrawn kernels show no hidden
    one.

    What redrawn kernels changed without a link stays in doubt until links explain that very draw.
    """
    doubts: dict[int, str] = {}
    for turn in range(TURNS):
        before = found.size
        for sign in (1, -1):
            _merge(found, net.run(Draw(turn, sign)))
        if found.size > before:
            continue
        doubts = {
            seed: why for seed in (*doubts, turn) if (why := _hidden(net, found, seed)) is not None
        }
        if not doubts and found.size == before:
            return
    why = next(iter(doubts.values()), None)
    raise TraceError(
        why
        or f"{found.news}: differs from run to run; links that change with the data cannot be used"
    )


def _merge(found: _Found, record: Record) -> None:
    """Add one run's links."""
    for name, leaf, axis in record.leaves:
        if name != INPUT:
            found.kernels[name] = leaf.shape[axis]
    for consumer, x, axis in record.convs:
        full = {p for (p, c), reach in found.links.items() if c == consumer and bool(reach.all())}
        for producer, reach in _reach(x, axis, record, full).items():
            reach = torch.ones_like(reach) if producer == INPUT else reach
            if new := _join(found.links, (producer, consumer), reach):
                found.size += new
                found.news = f"module {consumer!r}: what it reads of {producer!r}"
    for producer, reach in _output_reach(record).items():
        _join(found.outputs, producer, reach)


def _join(into: dict[Any, Tensor], key: Any, reach: Tensor) -> int:
    """Or `reach` into a table; the number of entries that are new."""
    before = int(into[key].sum()) if key in into else 0
    into[key] = into[key] | reach if key in into else reach
    return int(into[key].sum()) - before


def _reach(x: Tensor, axis: int, record: Record, full: Collection[str] = ()) -> dict[str, Tensor]:
    """Boolean (channels of the leaf, channels of x) for every leaf that reaches x; leaves in `full`
    may be left out.

    A leaf of which a sample of many channels reads every kernel counts as read by all.
    """
    if not x.requires_grad:
        return {}
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x)
    sums = (x * weights).movedim(axis, 0).flatten(1).sum(1)
    table = _by_groups(sums, record)
    wanted = [
        i for i, (name, _, _) in enumerate(record.leaves) if table[i] is None and name not in full
    ]
    if wanted and len(sums) > 2 * SAMPLE:
        few = _one_by_one(
            sums[torch.randperm(len(sums), generator=torch.Generator().manual_seed(3))[:SAMPLE]],
            record,
        )
        for i in wanted:
            table[i] = (
                torch.ones(len(few[i]), len(sums), dtype=torch.bool) if bool(few[i].all()) else None
            )
        wanted = [i for i in wanted if table[i] is None]
    if wanted:
        every = _one_by_one(sums, record)
        for i in wanted:
            table[i] = every[i]
    out: dict[str, Tensor] = {}
    for (name, _, _), reach in zip(record.leaves, table, strict=True):
        if reach is not None and bool(reach.any()):
            _join(out, name, reach)
    return out


def _one_by_one(sums: Tensor, record: Record) -> list[Tensor]:
    """The reach of every leaf, from one backward pass a channel."""
    return [torch.stack(r, dim=1) for r in zip(*(_touched(s, record) for s in sums), strict=True)]


def _by_groups(sums: Tensor, record: Record) -> list[Tensor | None]:
    """The same from two backward passes a bit of the channel's number; None for a leaf that feeds
    channels twice.
    """
    bits = max(1, (len(sums) - 1).bit_length())
    place = torch.arange(len(sums))
    if 2 * bits >= len(sums):
        return [None] * len(record.leaves)
    groups = [(place >> bit & 1).bool() for bit in range(bits)]
    one, zero = (
        [_touched(sums[(g == side).to(sums.device)].sum(), record) for g in groups]
        for side in (True, False)
    )
    out: list[Tensor | None] = []
    for i, (name, _, _) in enumerate(record.leaves):
        ones, zeros = (torch.stack([touched[i] for touched in side]) for side in (one, zero))
        seen = (ones | zeros).any(dim=0)
        column = (ones * 2 ** torch.arange(bits)[:, None]).sum(dim=0)
        if name == INPUT:
            out.append(seen[:, None].expand(1, len(sums)))
        elif bool((ones & zeros).any()) or bool((ones == zeros)[:, seen].any()):
            out.append(None)
        else:
            out.append(torch.nn.functional.one_hot(column, len(sums)).bool() & seen[:, None])
    return out


def _output_reach(record: Record) -> dict[str, Tensor]:
    """Boolean (channels of the leaf,) for every convolution that reaches the network's output."""
    seen = [
        torch.view_as_real(o) if o.is_complex() else o for o in record.outputs if o.requires_grad
    ]
    if not seen:
        return {}
    generator = torch.Generator().manual_seed(1)
    target = torch.stack(
        [(o * torch.randn(o.shape, generator=generator).to(o)).sum().double() for o in seen]
    ).sum()
    out: dict[str, Tensor] = {}
    for (name, _, _), touched in zip(record.leaves, _touched(target, record), strict=True):
        if name != INPUT and bool(touched.any()):
            _join(out, name, touched)
    return out


def _touched(target: Tensor, record: Record) -> list[Tensor]:
    """For every leaf, boolean (channels,): where the gradient of `target` is not zero; INPUT counts
    as one channel.
    """
    leaves = [leaf for _, leaf, _ in record.leaves]
    gradients = torch.autograd.grad(target, leaves, retain_graph=True, allow_unused=True)
    out = []
    for (name, leaf, axis), gradient in zip(record.leaves, gradients, strict=True):
        rows = leaf.reshape(1, -1) if name == INPUT else leaf.movedim(axis, 0).flatten(1)
        if gradient is None:
            out.append(torch.zeros(len(rows), dtype=torch.bool))
        else:
            rows = (
                gradient.reshape(1, -1) if name == INPUT else gradient.movedim(axis, 0).flatten(1)
            )
            out.append((rows != 0).any(dim=1).cpu())
    return out


def _hidden(net: CutNetwork, found: _Found, seed: int) -> str | None:
    """Redraw each module's kernels, all and by halves that part any two; the first input changed
    without a link.
    """
    base = net.run(Draw(seed))
    for name, n in list(found.kernels.items()):
        place = torch.arange(n)
        sides = [
            (place >> bit & 1).bool() for bit in range((n - 1).bit_length())
        ]  # any two kernels differ in a bit
        for channels in (torch.ones(n, dtype=torch.bool), *sides, *(~side for side in sides)):
            other = net.run(Draw(seed, 1, name, channels))
            if (
                other.calls != base.calls
            ):  # the control flow follows the data: one more run to learn from
                _merge(found, other)
                continue
            for (consumer, x, axis), (_, y, _) in zip(base.convs, other.convs, strict=True):
                reach = found.links.get(
                    (name, consumer), torch.zeros(n, x.shape[axis], dtype=torch.bool)
                )
                if bool((_changed(x, y, axis) & ~reach[channels].any(dim=0)).any()):
                    return (
                        f"module {consumer!r}: its input depends on {name!r} by a way that autograd does not see "
                        "(detach, no_grad, numpy or indices that follow the data); it cannot be traced"
                    )
    return None


@torch.no_grad()
def _changed(x: Tensor, y: Tensor, axis: int) -> Tensor:
    """Boolean (channels,): where two inputs differ by more than rounding."""
    a, b = (t.detach().movedim(axis, 0).flatten(1) for t in (x, y))
    largest = torch.where(a.isfinite(), a.abs(), 0.0).max()
    same = (a == b) | ((a - b).abs() <= TOLERANCE * largest)
    return ~(same | (a.isnan() & b.isnan())).all(dim=1).cpu()
