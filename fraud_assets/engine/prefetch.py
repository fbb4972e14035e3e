"""A hint to the processor that memory is about to be needed, which Python cannot say and LLVM can."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# How many rows ahead is far enough for memory to answer, and near enough to be still there.
AHEAD = 8

# Of `llvm.prefetch`: to read or to write; keep it close; data, not instructions.
_READ, _WRITE, _KEEP, _DATA = 0, 1, 3, 1


def _hint(purpose: int) -> Any:
    def hint(_typing: Any, matrix: Any, row: Any, column: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
            function = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
            llvm = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0i8")
            hints = [ir.Constant(word, hint) for hint in (purpose, _KEEP, _DATA)]
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            item = cgutils.get_item_pointer(context, builder, signature.args[0], array, arguments[1:], wraparound=False)
            builder.call(llvm, [builder.bitcast(item, byte), *hints])
            return context.get_dummy_value()

        return types.void(matrix, row, column), generate

    return intrinsic(hint)


# `prefetch(matrix, row, column)` fetches the cache line of one element; no effect but on time.
prefetch = _hint(_WRITE)
prefetch_to_read = _hint(_READ)
