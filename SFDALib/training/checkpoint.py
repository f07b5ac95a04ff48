"""What is saved of a training while it runs, so that it can be continued."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from SFDALib.errors import RequestError
from SFDALib.results.folder import writing

Curve = list[tuple[int, float]]  # (step, mean loss since the point before)


@dataclass(frozen=True)
class State:
    """What changes while a network is trained.

    Args:
        network: its weights are trained.
        optimiser: of these weights.
        average: their exponential moving average; None without.
        curve: the losses so far.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    average: AveragedModel | None = None
    curve: Curve = field(default_factory=list)

    def weights(self) -> dict[str, Tensor]:
        """The state dict to deliver, on the CPU: of the average where there is one."""
        source = self.network if self.average is None else self.average.module
        return {k: v.detach().cpu().contiguous() for k, v in source.state_dict().items()}


@dataclass(frozen=True)
class Checkpoint:
    """The file of one training.

    Args:
        path: of the file.
        identity: what is being trained, on what and how; a checkpoint is continued only by a
            training of the same identity.
    """

    path: Path
    identity: Mapping[str, Any]

    def save(self, state: State, step: int) -> None:
        """Write the state after ``step`` steps; the file of before stays until this one is whole.

        Raises:
            RequestError: the disk is full or not writable.
        """
        average = state.average
        content = {
            "identity": dict(self.identity),
            "step": step,
            "curve": state.curve,
            "network": state.network.state_dict(),
            "optimiser": state.optimiser.state_dict(),
            "average": average.state_dict() if average is not None else None,
        }
        partial = self.path.with_suffix(".partial")
        try:
            # given a stream, torch.save raises the system's own error
            with writing(self.path.parent), open(partial, "wb") as stream:
                torch.save(content, stream)
            os.replace(partial, self.path)
        finally:
            partial.unlink(missing_ok=True)

    def load(self, state: State) -> int:
        """Bring the saved state back into ``state``.

        Returns:
            The number of steps that were done; 0 where there is no checkpoint.

        Raises:
            RequestError: the checkpoint is of another training.
        """
        if not self.path.exists():
            return 0
        # not to the GPU, where Adam would have to fetch its count of steps for every weight
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        identity = dict(self.identity)
        if saved["identity"] != identity:
            differing = [key for key in identity if saved["identity"].get(key) != identity[key]]
            raise RequestError(
                f"{self.path.parent}: found the checkpoint of another training (other"
                f" {', '.join(differing) or 'fields'}), expected none or one of this; repeat the"
                " command that made it to go on, or remove the folder to start anew"
            )
        state.network.load_state_dict(saved["network"])
        state.optimiser.load_state_dict(saved["optimiser"])
        if state.average is not None:
            state.average.load_state_dict(saved["average"])
        state.curve.extend(tuple(point) for point in saved["curve"])
        return saved["step"]
