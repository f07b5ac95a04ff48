"""Batch statistics are mixed with the source's by their share."""

from __future__ import annotations

from small_models import adapt, delivered, model


def test_batch_statistics_mix_with_the_sources_by_their_share() -> None:
    source = model()
    kept = adapt("bn-statistics", source, source_share=1.0)
    assert not {n for n in delivered(kept, source) if "num_batches" not in n}
    assert len(adapt("bn-statistics", source).curves["criterion"]) == 2
