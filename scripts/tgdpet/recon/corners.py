"""Sums over the four voxels around each crossing of a line, and additions to them, as one vector.

Where the second axis across a line is the image's last, the four voxels are two pairs side by side
in memory: two loads and one multiplication of four numbers. LLVM does not find this by itself, so
these loops are written in its language; they hold no method. The choice between the two kinds of
loops is in here too: around it, numba would count references to the arrays for each line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending
from numba.core import cgutils, types

CORNERS = 4  # of a crossing, their weights in the order of (u, v): 00, 01, 10, 11

intrinsic: Any = extending.intrinsic  # numba's types know nothing of what it returns
FAST = ("fast",)
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
FLOAT = ir.FloatType()
BYTES = {FLOAT: 4, ir.DoubleType(): 8}


@intrinsic
def gather_corners(typingctx, flat, voxels, weights, n, stride_u, stride_v):  # type: ignore[no-untyped-def]
    """Sum of weight times voxel over the corners of `n` crossings.

    `flat` (voxels of an image,) float32 or float64; `voxels` (>= n,) int32: each crossing's corner
    00; `weights` (>= 4 n,) float32; `stride_u`, `stride_v`: from one corner to the next along u and
    v.
    """
    integers = (types.int64, types.int64, types.int64)
    signature = flat.dtype(flat, voxels, weights, *integers)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        line = _Line(context, builder, signature, args)
        sums = cgutils.alloca_once_value(builder, ir.Constant(line.vector, None))

        def add(crossing: Any, places: list[Any]) -> None:
            product = builder.fmul(line.load(places), line.weights(crossing), flags=FAST)
            total = builder.fadd(builder.load(sums), product, flags=FAST)
            builder.store(total, sums)

        line.each_crossing(add)
        return line.sum_of_lanes(builder.load(sums))

    return signature, generate


@intrinsic
def scatter_corners(typingctx, flat, voxels, weights, n, stride_u, stride_v, value):  # type: ignore[no-untyped-def]
    """The adjoint of `gather_corners`: add weight times `value` to the corners."""
    integers = (types.int64, types.int64, types.int64)
    signature = types.void(flat, voxels, weights, *integers, flat.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        line = _Line(context, builder, signature, args)
        values = line.repeated(args[-1])

        def add(crossing: Any, places: list[Any]) -> None:
            product = builder.fmul(values, line.weights(crossing), flags=FAST)
            line.store(builder.fadd(line.load(places), product, flags=FAST), places)

        line.each_crossing(add)
        return context.get_dummy_value()

    return signature, generate


class _Line:
    """A line's crossings of a flat image, whose corners are vectors of four numbers."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        def data(place: int) -> Any:
            array = context.make_array(signature.args[place])
            return array(context, builder, args[place]).data

        self.builder = builder
        self.image = data(0)
        self.lower = data(1)
        self.all_weights = data(2)
        self.n = args[3]
        self.stride_u = args[4]
        self.stride_v = args[5]

        self.number = self.image.type.pointee
        self.vector = ir.VectorType(self.number, CORNERS)

    def each_crossing(self, body: Callable[[Any, list[Any]], None]) -> None:
        """Call `body(crossing, places)` in a loop over places of two pairs, or of four voxels."""
        builder = self.builder
        side_by_side = builder.icmp_signed("==", self.stride_v, INT64(1))

        with builder.if_else(side_by_side) as (then, otherwise):
            with then, cgutils.for_range(builder, self.n) as loop:
                first = self._first(loop.index)
                places = [first, builder.add(first, self.stride_u)]
                body(loop.index, [self._place(place, 2) for place in places])

            with otherwise, cgutils.for_range(builder, self.n) as loop:
                first = self._first(loop.index)
                near = [first, builder.add(first, self.stride_v)]
                far = [builder.add(place, self.stride_u) for place in near]
                body(loop.index, [self._place(place, 1) for place in near + far])

    def _first(self, crossing: Any) -> Any:
        voxel = self.builder.load(self.builder.gep(self.lower, [crossing]))
        return self.builder.sext(voxel, INT64)

    def _place(self, voxel: Any, n_voxels: int) -> Any:
        """Where `n_voxels` from this one on lie."""
        place = self.builder.gep(self.image, [voxel])
        return self.builder.bitcast(place, ir.VectorType(self.number, n_voxels).as_pointer())

    def weights(self, crossing: Any) -> Any:
        """The weights of a crossing's corners, in the image's type."""
        stored = ir.VectorType(FLOAT, CORNERS)
        first = self.builder.mul(crossing, INT64(CORNERS))
        place = self.builder.gep(self.all_weights, [first])
        pointer = self.builder.bitcast(place, stored.as_pointer())
        weights = self.builder.load(pointer, align=BYTES[FLOAT])

        return weights if self.vector == stored else self.builder.fpext(weights, self.vector)

    def load(self, places: list[Any]) -> Any:
        """The corners at `places`, side by side."""
        parts = [self.builder.load(place, align=BYTES[self.number]) for place in places]

        while len(parts) > 1:
            joined = _lanes(0, 2 * parts[0].type.count)
            parts = [
                self.builder.shuffle_vector(one, other, joined)
                for one, other in zip(parts[0::2], parts[1::2], strict=True)
            ]

        return parts[0]

    def store(self, corners: Any, places: list[Any]) -> None:
        """Put the corners back to where `load` found them."""
        n_lanes = CORNERS // len(places)
        nothing = ir.Constant(self.vector, ir.Undefined)

        for i, place in enumerate(places):
            lanes = _lanes(i * n_lanes, (i + 1) * n_lanes)
            part = self.builder.shuffle_vector(corners, nothing, lanes)
            self.builder.store(part, place, align=BYTES[self.number])

    def repeated(self, value: Any) -> Any:
        vector = ir.Constant(self.vector, ir.Undefined)
        for lane in range(CORNERS):
            vector = self.builder.insert_element(vector, value, INT32(lane))

        return vector

    def sum_of_lanes(self, vector: Any) -> Any:
        lanes = [self.builder.extract_element(vector, INT32(i)) for i in range(CORNERS)]
        near = self.builder.fadd(lanes[0], lanes[1], flags=FAST)
        far = self.builder.fadd(lanes[2], lanes[3], flags=FAST)

        return self.builder.fadd(near, far, flags=FAST)


def _lanes(first: int, stop: int) -> Any:
    numbers = list(range(first, stop))
    return ir.Constant(ir.VectorType(INT32, len(numbers)), numbers)
