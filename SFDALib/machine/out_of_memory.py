"""Recognise out-of-memory errors of Python, torch and CUDA, and add the remedy."""

from __future__ import annotations

from SFDALib.errors import OutOfMemoryError

# torch has its own exception for GPUs only; its CPU allocator raises a RuntimeError.
# cuBLAS and cuDNN 8 say ..._STATUS_ALLOC_FAILED, cuDNN 9 ..._DEVICE_ALLOCATION_FAILED.
SIGNS = (
    *("out of memory", "can't allocate memory", "not enough memory"),
    *("STATUS_ALLOC_FAILED", "ALLOCATION_FAILED"),
)


def as_out_of_memory(error: BaseException, remedy: str = "") -> OutOfMemoryError | None:
    """The error to report if ``error`` means that memory ran out, else None.

    Args:
        error: what was caught.
        remedy: what lowers the need, such as "lower --option batch, now 24".
    """
    text = str(error)
    if not isinstance(error, MemoryError) and not (
        isinstance(error, RuntimeError) and any(sign in text for sign in SIGNS)
    ):
        return None
    need = next((line.strip()[:200] for line in text.splitlines() if line.strip()), "no figure")
    advice = "close other programs that use the device, or choose another --device"
    parts = ("out of memory", need, remedy, advice)
    return OutOfMemoryError("; ".join(part for part in parts if part))
