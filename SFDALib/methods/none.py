"""No adaptation: the source model as it is, with which the other methods are compared."""

from __future__ import annotations

from SFDALib.methods.method import Method, Work
from SFDALib.methods.shared_options import InferenceOptions

METHOD = Method(
    name="none",
    title="No adaptation",
    summary="Runs the source model as it is.",
    paper="the baseline of every paper",
    updates="nothing",
    needs=(),
    cost="one pass over the image",
    options_type=InferenceOptions,
    entry="SFDALib.adaptation.none:segment",
    adapts=False,
    own_work=lambda options: Work(),
    judged=False,
)
