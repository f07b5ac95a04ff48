"""How a cohort is adapted where the request leaves it open: once to all its images, or to each.

Single slices, such as pictures and frames, cannot be judged one by one: a method chosen for each of
them by itself would never be delivered. From ``LEAST_IMAGES`` on they are judged together, so that
one method for all can be chosen and delivered. Volumes are judged one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from SFDALib.errors import SFDAError
from SFDALib.jobs.engine import Engine
from SFDALib.jobs.request import EACH, ONCE, OPEN
from SFDALib.trust.cohort import LEAST_IMAGES
from SFDALib.volume.conform import shape_on
from SFDALib.volume.geometry import Geometry
from SFDALib.volume.image_file import ImageFile
from SFDALib.volume.reading import Reading

IN_WORDS = {EACH: "to each image by itself", ONCE: "once to all images"}


def decide(
    asked: str, engine: Engine, images: Collection[Sequence[Path]], reading: Reading
) -> tuple[str, str]:
    """Whether a cohort is adapted once or to each image, and why.

    Args:
        asked: as in a ``Cohort``.
        engine: the method and the model.
        images: the files of each image; only their headers are read, up to the first volume.
        reading: what the user states about the files.

    Returns:
        ``ONCE`` or ``EACH``, and the reason in words.
    """
    return decide_by_shape(asked, engine, _geometries(images, reading))


def decide_by_shape(
    asked: str, engine: Engine, geometries: Iterable[tuple[str, Geometry]]
) -> tuple[str, str]:
    """As ``decide``, from the name and the geometry of each image."""
    if asked != OPEN:
        return asked, "the request says so"
    if not engine.method.can_adapt_once:
        return EACH, f"{engine.method.title} updates no weights"
    slices = 0
    for name, geometry in geometries:
        if shape_on(engine.input_spec, geometry)[0] > 1:
            return EACH, f"{name} is a volume, and volumes are judged one by one"
        slices += 1
    if slices < LEAST_IMAGES:
        return EACH, (
            f"found {slices} readable single slice(s), expected at least {LEAST_IMAGES} to judge"
            " them together"
        )
    return ONCE, f"all {slices} images are single slices, which can only be judged together"


def _geometries(
    images: Iterable[Sequence[Path]], reading: Reading
) -> Iterator[tuple[str, Geometry]]:
    """The name and the geometry of each image whose header can be read."""
    for files in images:
        try:
            geometry = ImageFile(files, reading).header.geometry
        except SFDAError:  # reported when the image is read
            continue
        yield files[0].name, geometry
