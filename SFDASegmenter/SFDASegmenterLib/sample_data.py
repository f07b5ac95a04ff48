"""The shipped samples in the module Sample Data, read from this installation: no network."""

from __future__ import annotations

import json

from slicer.i18n import tr as _

from SFDASegmenterLib import library

CATEGORY = "SFDA"


def register() -> None:
    """Offer every sample volume."""
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # since Slicer 5.12
        logic.registerCustomSampleDataCategory(
            CATEGORY, title=_("SFDA (source-free domain adaptation)")
        )
    listed = json.loads((library.SAMPLES / "samples.json").read_text(encoding="utf-8"))
    for case in listed["cases"]:
        image = library.SAMPLES / case["image"]
        name = case["image"].removesuffix(".nii.gz")
        logic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=f"SFDA {case['name']}",
            uris=image.as_uri(),
            fileNames=case["image"],
            nodeNames=name,
            checksums=f"SHA256:{case['sha256']}",
            thumbnailFileName=str(library.RESOURCES / "Icons" / f"{name}.png"),
        )
