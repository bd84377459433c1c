"""The launches of a simulator's native kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import warp as wp

from rfo.physics.native import Native, kernels, lanes, pack_model, warp_type


@dataclass
class Workspace:
    """A model with scratch memory for so many environments, on one device."""

    envs: int
    packs: int
    slot: tuple[int, int]
    """Numbers of lanes that a pack takes, and how many packs have memory of their own."""
    model: tuple[wp.array, wp.array]
    scratch: wp.array
    outputs: list[wp.array]
    """Where the control step that the adjoint runs leaves its outputs."""


class PackedKernels:
    """Implements `rfo.physics.kernels.Kernels`.

    Args:
        native: the simulator's code.
        values: the fields of its model, by name.
        dtype: float32 or float64.
    """

    def __init__(self, native: Native, values: dict[str, Any], dtype: np.dtype):
        self.native = native
        self.values = values
        self.dtype = dtype
        self.kernels = kernels(native, dtype.name)
        self.input_widths = tuple(eval(x, {}, values) for x in native.inputs.values())
        self.output_widths = tuple(eval(x, {}, values) for x in native.outputs.values())
        self.work = eval(native.work, {}, values)

    def varying(self) -> PackedKernels:
        """Those that take parameters as their last input."""
        return PackedKernels(self.native.varying, self.values, self.dtype)

    def pack_size(self, device: str) -> int:
        """Environments that one thread advances together."""
        return lanes(self.dtype, device) if self.native.packed else 1

    def workspace(self, envs: int, device: str) -> Workspace:
        """Scratch for `envs` environments."""
        packs = -(-envs // self.pack_size(device))
        model = pack_model(self.native, self.values, self.dtype, device)
        size = wp.zeros(1, dtype=wp.int32, device=device)
        nothing = self.zeros(0, device)
        wp.launch(self.kernels.measure, 1, [envs, 0, 1, *model, nothing, size], device=device)
        slot_size = int(size.numpy()[0])
        # on the CPU, packs without a tape follow each other in the same memory
        slots = packs if self.native.tape or device.startswith("cuda") else 1
        alignment = 64 // self.dtype.itemsize
        numbers = slots * slot_size * lanes(self.dtype, device)
        return Workspace(
            envs=envs,
            packs=packs,
            slot=(slot_size, slots),
            model=model,
            scratch=self.zeros(numbers + alignment, device),
            outputs=[self.zeros(envs * width, device) for width in self.output_widths],
        )

    def launch_forward(
        self, workspace: Workspace, inputs: Sequence[wp.array], outputs: Sequence[wp.array]
    ) -> None:
        """See `rfo.physics.kernels.Kernels.launch_forward`."""
        self.launch(self.kernels.step, workspace, [*inputs, *outputs])

    def launch_adjoint(
        self,
        workspace: Workspace,
        inputs: Sequence[wp.array],
        adj_outputs: Sequence[wp.array],
        adj_inputs: Sequence[wp.array],
    ) -> None:
        """See `rfo.physics.kernels.Kernels.launch_adjoint`."""
        if self.native.tape:
            self.launch_forward(workspace, inputs, workspace.outputs)
        self.launch(self.kernels.adjoint, workspace, [*inputs, *adj_outputs, *adj_inputs])

    def launch(self, kernel: wp.Kernel, ws: Workspace, arrays: list[wp.array]) -> None:
        """Launch a kernel on all packs."""
        team = self.native.team if str(ws.scratch.device).startswith("cuda") else 1
        wp.launch(
            kernel,
            dim=ws.packs * team,
            inputs=[ws.envs, *ws.slot, *ws.model, ws.scratch, *arrays],
            device=ws.scratch.device,
            block_dim=team if team > 1 else 256,
            record_tape=False,
        )

    def zeros(self, n: int, device: str) -> wp.array:
        """A flat array of the kernels' precision."""
        return wp.zeros(n, dtype=warp_type(self.dtype), device=device)
