"""The shipped samples in the module Sample Data, read from this installation: no network."""

from __future__ import annotations

import json

from SFDASegmenterLib import library

CATEGORY = "SFDA"


def register() -> None:
    """Offer every sample volume."""
    import SampleData

    listed = json.loads((library.SAMPLES / "samples.json").read_text(encoding="utf-8"))
    for case in listed["cases"]:
        image = library.SAMPLES / case["image"]
        name = case["image"].removesuffix(".nii.gz")
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=f"SFDA {case['name']}",
            uris=image.as_uri(),
            fileNames=case["image"],
            nodeNames=name,
            thumbnailFileName=str(library.RESOURCES / "Icons" / f"{name}.png"),
        )
