"""The stages of a run: timed, and repeated with less at once where memory runs out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch

from SFDALib.errors import OutOfMemoryError
from SFDALib.machine import devices
from SFDALib.machine.batch_size import one_patch_at_a_time
from SFDALib.machine.out_of_memory import as_out_of_memory
from SFDALib.methods.shared_options import InferenceOptions

SMALLER = 4  # what a batch is divided by when memory ran out

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Stages:
    """How long each stage of a run took, and which were repeated for lack of memory.

    Args:
        seconds: of each stage, in the order in which they ended.
        notes: one sentence for each repeated stage, for the report.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str, options: InferenceOptions) -> Iterator[None]:
        """Time a stage; where it runs out of memory, name the options that lower the need.

        Args:
            options: those that the stage is done with.

        Raises:
            OutOfMemoryError: in place of Python's, torch's or CUDA's own error.
        """
        start = time.monotonic()
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            failure = as_out_of_memory(error, _remedy(options))
            if failure is None:
                raise
            raise failure from error
        finally:
            spent = time.monotonic() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)

    def attempt(
        self,
        name: str,
        work: Callable[[Any], T],
        options: InferenceOptions,
        device: torch.device,
        trains: bool = False,
    ) -> T:
        """Do a stage; where memory runs out, repeat it with patches one by one.

        Args:
            work: what the stage does with the options.
            trains: whether the stage works in batches of the option ``batch``. Then each repetition
                has a smaller batch, as a patch that fits alone may not fit in a batch of six.

        Raises:
            OutOfMemoryError: memory ran out at the last repetition, too.
        """
        batch = getattr(options, "batch", None) if trains else None
        tries: list[Any] = [options]
        while batch and batch > 1:
            batch = max(1, batch // SMALLER)
            smaller: dict[str, Any] = {"batch": batch}
            tries.append(replace(options, **smaller))
        if len(tries) == 1:
            tries.append(replace(options))
        for number, tried in enumerate(tries):
            try:
                with self.stage(name, tried), one_patch_at_a_time() if number else nullcontext():
                    done = work(tried)
                break
            except OutOfMemoryError as error:
                if tried is tries[-1]:
                    raise
                # the text only: the traceback keeps the failed frames' tensors alive
                log.warning("%s", str(error))
            # outside of ``except``, where the error still keeps those tensors alive
            devices.release(device)
        if number:
            note = f"Memory ran out during {name}; it was done again with patches one by one"
            if batch:
                note += f" and --option batch={tried.batch}"
            self.notes.append(f"{note}.")
        return done


def _remedy(options: InferenceOptions) -> str:
    return "; ".join(
        f"lower --option {name}, now {value}" if value > 1 else f"not even --option {name}=1 fits"
        for name, value in options.lowering_memory().items()
    )
