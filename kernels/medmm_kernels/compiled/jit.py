"""Three ways to compile, chosen by measurement."""

import numba

# Loops over a row are functions of their own, or they are vectorised less well. What takes many arrays is inlined by
# LLVM, as handing these on costs more than the work; a few operations by Numba.
jit = numba.njit(nogil=True, error_model="numpy")
glue = numba.njit(nogil=True, error_model="numpy", forceinline=True)
inline = numba.njit(nogil=True, error_model="numpy", inline="always")
