"""Eight bytes at any place as one number, and the place of its highest bit: one instruction each, which Python cannot say and LLVM can.

Little endian, as every processor is that numba compiles for.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_WORD = ir.IntType(64)


def _pointer(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    made = context.make_array(kind)(context, builder, array)
    item = cgutils.get_item_pointer(context, builder, kind, made, [place], wraparound=False)
    return builder.bitcast(item, _WORD.as_pointer())


@intrinsic
def load_word(_typing: Any, raw: Any, at: Any) -> Any:
    """raw[at:at + 8] as an int64, one at a time.

    Places as far apart as a column is wide would be gathered by a vector instruction, which many processors run as slowly as a
    dozen others since it was found to leak (Downfall, 2022). The fence forbids it and is no instruction itself.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("acquire", "singlethread")
        return builder.load(_pointer(context, builder, signature.args[0], *arguments), align=1)

    return types.int64(raw, at), generate


@intrinsic
def load_next_word(_typing: Any, raw: Any, at: Any) -> Any:
    """The same where words stand side by side: several at a time if the compiler likes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(context, builder, signature.args[0], *arguments), align=1)

    return types.int64(raw, at), generate


@intrinsic
def store_word(_typing: Any, raw: Any, at: Any, _value: Any) -> Any:
    """raw[at:at + 8] = an int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, place, word = arguments
        builder.store(word, _pointer(context, builder, signature.args[0], array, place), align=1)
        return context.get_dummy_value()

    return types.void(raw, at, types.int64), generate


@intrinsic
def leading_zeros(_typing: Any, _value: Any) -> Any:
    """Of a 64-bit number; 64 of 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate
