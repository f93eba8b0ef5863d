"""Sums along lines through several slabs at once, and additions to them: a slab a SIMD lane.

Lines that are mirror images of each other cross the slabs of their own at the same places, so that
one load reads all slabs. Numba takes a loop over few lanes apart before LLVM could make vectors of
it; hence these loops are written in LLVM's language.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending
from numba.core import cgutils, types

LANES = 8  # float32: a register of 256 bits

intrinsic: Any = extending.intrinsic  # numba's types know nothing of what it returns
FAST = ("fast",)
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)
VECTOR = ir.VectorType(ir.FloatType(), LANES)
ALIGN = 4


@intrinsic
def sum_along(typingctx, slabs, places, fractions, first, last, sums):  # type: ignore[no-untyped-def]
    """Write into `sums` (LANES,) what the slabs hold at the places `first` to `last` of a line.

    `slabs` (any,) float32, the lanes side by side; `places` (any,) int32: where the lower of two
    neighbours begins; `fractions` (any,) float32 of the way to the upper one, which follows it.
    """
    signature = types.void(slabs, places, fractions, types.int64, types.int64, sums)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        line = _Line(context, builder, signature, args)
        total = cgutils.alloca_once_value(builder, ir.Constant(VECTOR, None))

        def add(lower_at: Any, upper_at: Any, fraction: Any) -> None:
            lower = line.load(lower_at)
            difference = builder.fsub(line.load(upper_at), lower, flags=FAST)
            step = builder.fmul(fraction, difference, flags=FAST)
            value = builder.fadd(lower, step, flags=FAST)
            builder.store(builder.fadd(builder.load(total), value, flags=FAST), total)

        line.each_place(add)
        line.store(builder.load(total), line.vector_at(line.values, INT64(0)))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def add_along(typingctx, slabs, places, fractions, first, last, values):  # type: ignore[no-untyped-def]
    """The adjoint of `sum_along`: add `values` (LANES,) float32 to the slabs along a line."""
    signature = types.void(slabs, places, fractions, types.int64, types.int64, values)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        line = _Line(context, builder, signature, args)
        values = line.load(line.vector_at(line.values, INT64(0)))

        def add(lower_at: Any, upper_at: Any, fraction: Any) -> None:
            upper = builder.fmul(fraction, values, flags=FAST)
            lower = builder.fsub(values, upper, flags=FAST)
            line.store(builder.fadd(line.load(lower_at), lower, flags=FAST), lower_at)
            line.store(builder.fadd(line.load(upper_at), upper, flags=FAST), upper_at)

        line.each_place(add)
        return context.get_dummy_value()

    return signature, generate


class _Line:
    """A line through the slabs: the arguments of `sum_along` and `add_along`."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        def data(place: int) -> Any:
            array = context.make_array(signature.args[place])
            return array(context, builder, args[place]).data

        self.builder = builder
        self.slabs = data(0)
        self.places = data(1)
        self.fractions = data(2)
        self.first = args[3]
        self.last = args[4]
        self.values = data(5)

    def each_place(self, body: Callable[[Any, Any, Any], None]) -> None:
        """Call `body(lower, upper, fraction)`: where both neighbours lie, and a vector."""
        builder = self.builder
        n = builder.add(builder.sub(self.last, self.first), INT64(1))

        with cgutils.for_range(builder, n) as loop:
            number = builder.add(self.first, loop.index)
            place = builder.load(builder.gep(self.places, [number]))
            lower = builder.sext(place, INT64)
            upper = builder.add(lower, INT64(LANES))
            fraction = builder.load(builder.gep(self.fractions, [number]))

            body(
                self.vector_at(self.slabs, lower),
                self.vector_at(self.slabs, upper),
                self._repeated(fraction),
            )

    def vector_at(self, data: Any, place: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(data, [place]), VECTOR.as_pointer())

    def load(self, pointer: Any) -> Any:
        return self.builder.load(pointer, align=ALIGN)

    def store(self, vector: Any, pointer: Any) -> None:
        self.builder.store(vector, pointer, align=ALIGN)

    def _repeated(self, value: Any) -> Any:
        vector = ir.Constant(VECTOR, ir.Undefined)
        for lane in range(LANES):
            vector = self.builder.insert_element(vector, value, INT32(lane))

        return vector
