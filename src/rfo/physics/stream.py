"""Kernels on a JAX stream, through Warp's foreign-function interface: the way on CUDA.

XLA hands its own buffers to the launches, so nothing is copied. It also hands over its stream,
which it may be capturing into a graph: whatever allocates or compiles happens before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from typing import Any

import warp as wp

from rfo.physics.kernels import Kernels
from rfo.types import Array


class Stream:
    """A control step of a fixed number of environments.

    It consists of JAX functions that XLA runs on its stream.
    All calls share one workspace on each device: XLA runs them one after the other.

    Args:
        kernels: the simulator.
        envs: environments of the whole batch.
        devices: Warp's names of the devices on which it may run.
    """

    def __init__(self, kernels: Kernels, envs: int, devices: Sequence[str]):
        self._kernels = kernels
        self._envs = envs
        self._workspaces = {device: kernels.workspace(envs, device) for device in devices}
        inputs, outputs = kernels.input_widths, kernels.output_widths
        self._forward = self._function(self._launch_forward, inputs, outputs)
        self._adjoint = self._function(self._launch_adjoint, (*inputs, *outputs), inputs)

    def forward(self, *inputs: Array) -> list[Array]:
        """Inputs to outputs."""
        return self._forward(*inputs)

    def adjoint(self, *operands: Array) -> list[Array]:
        """Inputs, adjoints of the outputs to adjoints of the inputs."""
        return self._adjoint(*operands)

    def _launch_forward(self, workspace: Any, arrays: Sequence[wp.array]) -> None:
        n = len(self._kernels.input_widths)
        self._kernels.launch_forward(workspace, arrays[:n], arrays[n:])

    def _launch_adjoint(self, workspace: Any, arrays: Sequence[wp.array]) -> None:
        n = len(self._kernels.input_widths)
        self._kernels.launch_adjoint(workspace, arrays[:n], arrays[n:-n], arrays[-n:])

    def _function(
        self,
        launch: Callable[[Any, Sequence[wp.array]], None],
        operand_widths: Sequence[int],
        result_widths: Sequence[int],
    ) -> Callable[..., list[Array]]:
        """A JAX function from arrays (envs, width) to such arrays."""
        envs, real = self._envs, wp.dtype_from_numpy(self._kernels.dtype)
        widths = (*operand_widths, *result_widths)

        def run(*arrays: wp.array) -> None:
            launch(self._workspaces[str(arrays[0].device)], arrays)

        for device in self._workspaces:
            run(*(wp.zeros(envs * width, dtype=real, device=device) for width in widths))
            wp.synchronize_device(device)

        names = [f"array_{i}" for i in range(len(widths))]
        _annotate(run, names, wp.array(dtype=real))
        call = wp.jax_callable(
            run,
            num_outputs=len(result_widths),
            graph_mode=wp.JaxCallableGraphMode.JAX,
            output_dims={
                name: envs * width
                for name, width in zip(names[-len(result_widths) :], result_widths, strict=True)
            },
        )

        def function(*operands: Array) -> list[Array]:
            results = call(*(x.reshape(-1) for x in operands))
            return [x.reshape(envs, width) for x, width in zip(results, result_widths, strict=True)]

        return function


def _annotate(run: Callable[..., None], names: Sequence[str], kind: Any) -> None:
    """Give a function of any number of arrays the explicit signature that Warp reads."""
    parameters = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=kind) for name in names
    ]
    run.__signature__ = Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    run.__annotations__ = dict.fromkeys(names, kind)
