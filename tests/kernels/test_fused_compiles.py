"""The fused kernel is compiled for a GPU of compute capability 9.0, on any machine: the interpreter forgives more."""

import os
import subprocess
import sys

import pytest

COMPILE = """
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from medmm_kernels import MaskSpec, Modality, batch, fused

strategy, parity = {strategy!r}, {parity}
spec = MaskSpec(
    {{"image": Modality("dense", 16, 0.5, 0.5, grid=(4, 4)), "text": Modality("sequence", 9, 0.5, 0.5)}},
    (1, 8), 8, first_sentinel=2, sentinels=4, strategy=strategy, parity=parity,
)
tokens = {{"image": torch.zeros(1, 16, dtype=torch.int32), "text": torch.zeros(1, 9, dtype=torch.int32)}}
weights = {{"image": torch.ones(1, 16)}} if strategy == "weighted" else None
inputs = batch.inputs(tokens, {{"text": torch.tensor([5])}}, spec, torch.tensor([1]), weights)
arguments = fused.launch_arguments(inputs, spec, 1, batch.empty_fields(inputs, spec))
KINDS = {{torch.int32: "*i32", torch.int64: "*i64", torch.float32: "*fp32", torch.float64: "*fp64", torch.bool: "*i1"}}

def kind(name, value):
    if isinstance(value, tuple):
        return tuple(KINDS[tensor.dtype] for tensor in value)
    return KINDS[value.dtype] if isinstance(value, torch.Tensor) else "i64" if name == "seed" else "i32"

kernel = fused.mask_kernel
known = {{p.name for p in kernel.params if p.is_constexpr}}
special = {{p.name for p in kernel.params if not p.is_constexpr and not p.do_not_specialize}}
assert not special & {{name for name, value in arguments.items() if isinstance(value, int)}}, "a batch of 1 is special"
signature = {{name: "constexpr" if name in known else kind(name, arguments[name]) for name in kernel.arg_names}}
constants = {{(kernel.arg_names.index(name),): arguments[name] for name in known}}
compiled = triton.compile(
    ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32), options=fused.launch_options(arguments)
)
print(len(compiled.asm["cubin"]))
"""


@pytest.mark.parametrize(("strategy", "parity"), [("uniform", False), ("uniform", True), ("weighted", False)])
def test_the_kernel_compiles_for_a_gpu(strategy, parity):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    program = COMPILE.format(strategy=strategy, parity=parity)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 10_000
