"""The one crossing between Warp and JAX.

A simulator hands over its kernels (`rfo.physics.kernels.Kernels`); `Bridge` makes of them one
differentiable JAX function of a control step. It works under jit, scan, vmap (which folds into the
batch), grad and checkpoint, from any number of compiled programs. Reverse mode only, first
derivatives only: anything else is refused.

Where several devices share the environments (`jax.set_mesh` with the axis
`rfo.types.ENVIRONMENTS`), each advances its own.

On the CPU a call leaves XLA for graphs captured by Warp (`rfo.physics.host`); on CUDA the launches
go to XLA's own stream (`rfo.physics.stream`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import warp as wp
from jax.extend.core import Primitive
from jax.extend.mlir.dialects.stablehlo import BitcastConvertOp
from jax.interpreters import ad, batching, mlir
from jax.sharding import PartitionSpec, get_abstract_mesh

from rfo.physics.host import Host, Plan, useful_threads
from rfo.physics.kernels import Kernels
from rfo.physics.stream import Stream
from rfo.types import ENVIRONMENTS, Array

_making = threading.Lock()
"""Held while a batch's plan is made: Warp captures for one thread at a time."""


class Bridge:
    """A differentiable JAX function over a simulator's kernels.

    Args:
        kernels: the simulator.
        threads: CPU threads, by default `rfo.physics.host.useful_threads` for each batch.

    Raises:
        ValueError: if `threads` is not positive.
    """

    def __init__(self, kernels: Kernels, threads: int | None = None):
        if threads is not None and threads < 1:
            raise ValueError(f"physics needs at least one thread, not {threads}")
        self.kernels = kernels
        self.threads = threads
        self._plans: dict[int, Host] = {}
        self._streams: dict[int, Stream] = {}
        self._step = self._differentiable()

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """One control step: inputs (B, width) each, outputs (B, width) each.

        Raises:
            ValueError: if shapes are not the kernels'.
            TypeError: if dtypes are not the kernels', or in forward mode.
            NotImplementedError: if its gradient is differentiated.
        """
        _check(self.kernels, inputs)
        mesh = get_abstract_mesh()
        if mesh.empty:
            return self._step(*inputs)
        share = PartitionSpec(ENVIRONMENTS) if ENVIRONMENTS in mesh.axis_names else PartitionSpec()
        step = jax.shard_map(self._step, in_specs=share, out_specs=share, check_vma=False)
        return step(*inputs)

    @cached_property
    def varying(self) -> Bridge:
        """The same with the simulator's parameters as the last input."""
        return Bridge(self.kernels.varying(), self.threads)

    def plan(self, envs: int) -> Host:
        """How the CPU advances a batch, made at the first call."""
        with _making:
            if envs not in self._plans:
                threads = self.threads or useful_threads(self.kernels, envs)
                self._plans[envs] = Plan(self.kernels, envs, threads)
            return self._plans[envs]

    def stream(self, envs: int) -> Stream:
        """How CUDA devices advance a batch, made at the first call."""
        with _making:
            if envs not in self._streams:
                devices = [device.alias for device in wp.get_cuda_devices()]
                self._streams[envs] = Stream(self.kernels, envs, devices)
            return self._streams[envs]

    def _differentiable(self) -> Callable[..., tuple[Array, ...]]:
        def advance(*inputs):
            return tuple(_forward_p.bind(*inputs, bridge=self))

        def forward(*inputs):
            return advance(*inputs), inputs

        def backward(inputs, cotangents):
            return tuple(_adjoint_p.bind(*inputs, *cotangents, bridge=self))

        step = jax.custom_vjp(advance)
        step.defvjp(forward, backward)
        return step


def _check(kernels: Kernels, inputs: Sequence[Any]) -> None:
    """Refuse what the kernels would read wrongly."""
    widths, shapes = kernels.input_widths, [x.shape for x in inputs]
    envs = shapes[0][0] if shapes[0] else 0
    if not envs or shapes != [(envs, width) for width in widths]:
        raise ValueError(
            f"physics expects arrays (B, width) of widths {widths}, B >= 1, not {shapes}"
        )
    if any(x.dtype != kernels.dtype for x in inputs):
        raise TypeError(f"physics expects {kernels.dtype}, not {[str(x.dtype) for x in inputs]}")


# ----------------------------------------------------------------------------------- JAX primitives


def _forward_abstract(*inputs, bridge: Bridge):
    return _avals(inputs[0], bridge.kernels, bridge.kernels.output_widths)


def _adjoint_abstract(*operands, bridge: Bridge):
    return _avals(operands[0], bridge.kernels, bridge.kernels.input_widths)


def _avals(like, kernels: Kernels, widths: Sequence[int]) -> list[Any]:
    return [like.update(shape=(like.shape[0], width), dtype=kernels.dtype) for width in widths]


def _to_host(call: Callable[..., Any]):
    """Lowering to a plain host callback: NumPy views in, no transfer of operands as JAX arrays.

    `jax.pure_callback` puts its operands on the device first, which costs 0.1 ms a call and needs a
    free XLA thread while one is waiting here.

    Double precision crosses as pairs of 32-bit words: JAX rounds what a callback returns to single
    precision where `jax.enable_x64` holds in the thread of the caller only."""

    def lowering(ctx, *args, bridge: Bridge):
        # compiled and captured here, not inside a callback
        plan = bridge.plan(ctx.avals_in[0].shape[0])
        double = bridge.kernels.dtype == np.float64
        avals = [_in_words(aval) for aval in ctx.avals_out] if double else ctx.avals_out

        def on_host(*operands):
            results = call(plan, *operands)
            if not double:
                return results
            return tuple(x.view(np.uint32).reshape(*x.shape, 2) for x in results)

        inner = ctx.replace(avals_out=avals)
        results, _, _ = mlir.emit_python_callback(
            inner, on_host, None, list(args), ctx.avals_in, avals, has_side_effect=False
        )
        if not double:
            return results
        shapes: Any = [aval.shape for aval in ctx.avals_out]
        kinds = (mlir.ir.RankedTensorType.get(x, mlir.ir.F64Type.get()) for x in shapes)
        words: Any = results
        return [BitcastConvertOp(k, x).result for k, x in zip(kinds, words, strict=True)]

    return lowering


def _in_words(aval):
    """Shape and type of a float64 array as pairs of 32-bit words."""
    return aval.update(shape=(*aval.shape, 2), dtype=np.dtype(np.uint32))


def _at_once(host: Callable[..., Any], on_stream: Callable[..., list[Array]]):
    """Evaluation outside of any compiled program. It compiles nothing, because JAX would keep the
    program, and with it the simulator, as long as the process lives."""

    def impl(*operands, bridge: Bridge):
        operands = [jnp.asarray(x) for x in operands]
        envs, (device, *_) = operands[0].shape[0], operands[0].devices()
        if device.platform != "cpu":
            return on_stream(bridge.stream(envs), *operands)
        results = host(bridge.plan(envs), *(np.asarray(x) for x in operands))
        return [jax.device_put(x, device) for x in results]

    return impl


def _to_stream(call: Callable[..., list[Array]]):
    """Lowering to launches on XLA's stream."""

    def rule(*operands, bridge: Bridge):
        return call(bridge.stream(operands[0].shape[0]), *operands)

    return mlir.lower_fun(rule, multiple_results=True)


def _fold(primitive: Primitive):
    """A mapped axis V joins the batch: (V, B, width) -> (V * B, width)."""

    def rule(args, dims, **params):
        size = next(x.shape[d] for x, d in zip(args, dims, strict=True) if d is not None)
        moved = [
            jnp.broadcast_to(x, (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)
            for x, d in zip(args, dims, strict=True)
        ]
        # no -1 in the shapes: a width may be 0
        folded = (x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]) for x in moved)
        results = primitive.bind(*folded, **params)
        return [x.reshape(size, x.shape[0] // size, *x.shape[1:]) for x in results], [0] * len(
            results
        )

    return rule


def _refuse_derivative(primals, tangents, **params):
    raise NotImplementedError(
        "the physics offers reverse-mode first derivatives only: "
        "neither jvp nor a derivative of its gradient is available"
    )


def _primitive(name: str, abstract, host, on_stream) -> Primitive:
    primitive = Primitive(name)
    primitive.multiple_results = True
    primitive.def_abstract_eval(abstract)
    primitive.def_impl(_at_once(host, on_stream))
    mlir.register_lowering(primitive, _to_host(host), platform="cpu")
    mlir.register_lowering(primitive, _to_stream(on_stream), platform="cuda")
    batching.primitive_batchers[primitive] = _fold(primitive)
    ad.primitive_jvps[primitive] = _refuse_derivative
    return primitive


def _forward(host: Host, *operands):
    return host.forward(*operands)


def _adjoint(host: Host, *operands):
    return host.adjoint(*operands)


_forward_p = _primitive("physics_forward", _forward_abstract, _forward, Stream.forward)
_adjoint_p = _primitive("physics_adjoint", _adjoint_abstract, _adjoint, Stream.adjoint)
