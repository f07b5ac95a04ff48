"""What is to be done, as plain data: the form that every way of asking is turned into.

A ``Job`` is one method on one image, a ``Cohort`` one method on many images, a ``Comparison``
several methods on one image. Each can be typed on the command line, read from a job file and
written to one; ``fields`` derives all three from the dataclasses' fields. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from SFDALib.bundle import postprocessing
from SFDALib.bundle.typed_volumes import TypedVolume
from SFDALib.errors import RequestError, check_name
from SFDALib.jobs import labelled
from SFDALib.jobs.fields import (
    Choice,
    FileName,
    FileNames,
    Flag,
    Whole,
    described,
    described_fields,
    read_fields,
)
from SFDALib.jobs.labelled import Labelled, LabelledFiles
from SFDALib.jobs.request_fields import (
    Device,
    MethodName,
    Methods,
    Options,
    PostProcess,
    Statements,
    Volumes,
)
from SFDALib.methods import registry
from SFDALib.methods.option import PRESETS, RECOMMENDED
from SFDALib.methods.registry import REFERENCE
from SFDALib.trust.cohort import LEAST_IMAGES
from SFDALib.volume.reading import Reading

GATES = ("on", "off")
ADAPT = OPEN, EACH, ONCE = "auto", "each", "once"  # how a cohort is adapted


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the three forms of request have in common.

    Args:
        bundle: the source model: whatever ``bundle.open_model`` takes.
        input: the image's files; several are its channels.
        output: the result folder; must not exist.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        seed: of all random numbers.
        labels: segmentations that the method learns from, if it learns from labels.
        reading: what the user states about the image's files.
        probabilities: whether the class probabilities are written, too.
        preset: the values of options that are not given: "recommended", or "published", which are
            those of each method's paper or released code.
        postprocess: "bundle" for what the bundle asks for, "off", or words of
            ``bundle.postprocessing.STEPS`` between commas.
        volumes: plausible ones of the model's structures, in place of those that it has or lacks.
    """

    bundle: str = field(
        metadata=described(
            FileName(),
            "source model: a bundle of SFDALib or MONAI (folder or .zip), or a model folder of"
            " nnU-Net",
        )
    )
    input: tuple[str, ...] = field(
        metadata=described(FileNames(), "the image; several files are its channels")
    )
    output: str = field(metadata=described(FileName(), "result folder; must not exist"))
    device: str = field(
        default="auto", metadata=described(Device(), "auto (default), cpu, cuda, cuda:1, mps")
    )
    seed: int = field(
        default=0,
        metadata=described(Whole(0, 2**31 - 1), "seed of all random numbers (default 0)"),
    )
    labels: tuple[Labelled, ...] = field(
        default=(),
        metadata=described(
            LabelledFiles(),
            "segmentations to learn from, for few-labels: IMAGE=LABELS (IMAGE;IMAGE=LABELS with"
            " several channels). Without IMAGE: of the only image of --input, or of the one of the"
            " same name. A folder stands for the files in it",
        ),
    )
    reading: Reading = field(
        default_factory=Reading,
        metadata=described(Statements(), "what the image's files do not state"),
    )
    probabilities: bool = field(
        default=False,
        metadata=described(Flag(), "write the class probabilities, too (probabilities.nrrd)"),
    )
    preset: str = field(
        default=RECOMMENDED,
        metadata=described(
            Choice(PRESETS),
            "options that are not given have the recommended values (default), which are quick and"
            " were chosen on several data sets, or the published ones of the method's paper",
        ),
    )
    volumes: tuple[TypedVolume, ...] = field(
        default=(),
        metadata=described(
            Volumes(),
            'plausible ml of structures, if the model knows none: "Liver=900-2500,Tumour=1-300", or'
            ' with the usual volume "Liver=900-1500-2500"; a structure by its name or number',
        ),
    )
    postprocess: str = field(
        default=postprocessing.BUNDLE,
        metadata=described(
            PostProcess(),
            "post-processing of the segmentations: bundle (default), as the model asks; off; or,"
            f" between commas, some of {postprocessing.in_words()}",
        ),
    )

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a request from a JSON file; relative paths in it are relative to the working folder.

        Raises:
            RequestError: naming the field, what was found and what was expected.
        """
        return cls(**read_fields(cls, path))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as ``from_file`` reads it."""
        return {
            one.name: kind.plain(getattr(self, one.name))
            for one, kind, _ in described_fields(type(self))
        }

    def checked(self) -> Self:
        """The same with every option's value filled in and checked; what is carried out.

        Raises:
            RequestError: an unknown method, option or device, or a value out of range.
        """
        for one, kind, _ in described_fields(type(self)):
            kind.check(one.name, getattr(self, one.name))
        check_name(self.output)
        if len(self.reading.series) not in (0, 1, len(self.input)):
            raise RequestError(
                f"series: found {len(self.reading.series)} for {len(self.input)} file(s) of the"
                " input, expected one for all or one for each"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class Job(Request):
    """One method on one image.

    Args:
        method: a name in the registry.
        options: of the method, by name; what is not given has its value in the preset.
        gate: "on" delivers the method's result where the verdict says so, else the source model's;
            "off" always the method's result; of ``auto`` then the one with the best verdict.
    """

    method: str = field(
        default=registry.AUTO,
        metadata=described(
            MethodName(), f"{', '.join(registry.METHODS)} (default: {registry.AUTO})"
        ),
    )
    options: Mapping[str, Any] = field(
        default_factory=dict,
        metadata=described(Options(), "an option of the method; SFDALib methods lists them"),
    )
    gate: str = field(
        default="on",
        metadata=described(
            Choice(GATES),
            "which segmentation is delivered. on (default): the method's where the judge finds it"
            " better than the source model's and its volumes plausible, else the source model's;"
            f" off: always the method's (with {registry.AUTO}, the result with the best verdict)."
            " Both are written in any case",
        ),
    )

    def checked(self) -> Self:
        """The same with every option's value filled in and checked, see ``Request.checked``."""
        super().checked()
        options = registry.find(self.method).values(self.options, self.preset).to_dict()
        labelled.check(self.labels, (self.method,))
        return replace(self, options=options)


@dataclass(frozen=True, kw_only=True)
class Cohort(Job):
    """One method on many images.

    Args:
        input: the images; a folder stands for those in it.
        adapt: "each" adapts to every image by itself, "once" to all of them together, "auto" is
            decided by the images, see ``cohort_adapt``.
    """

    input: tuple[str, ...] = field(
        metadata=described(
            FileNames(),
            "the images; a folder stands for those in it and in its DICOM folders; for a model with"
            " several channels, case_0000 and case_0001 are one image",
        )
    )
    adapt: str = field(
        default=OPEN,
        metadata=described(
            Choice(ADAPT),
            f"adapt to each image by itself, or once to all of them; auto (default): once to"
            f" {LEAST_IMAGES} or more single slices such as pictures and frames, which can only be"
            " judged together, else to each",
        ),
    )

    def checked(self) -> Self:
        """The same, checked as a ``Job`` and for use with several images."""
        checked = super().checked()
        method = registry.find(self.method)
        if self.adapt == ONCE and not method.can_adapt_once:
            raise RequestError(
                f"cohort: method {self.method} updates no weights, expected one that does for"
                " --adapt once; use --adapt each"
            )
        if len(self.reading.series) > 1:
            raise RequestError("series: found several, expected one for all images of a cohort")
        return checked


@dataclass(frozen=True, kw_only=True)
class Comparison(Request):
    """Several methods on one image, beside the source model as it is.

    Args:
        methods: for each method its options, as in a ``Job``.
    """

    methods: Mapping[str, Mapping[str, Any]] = field(
        metadata=described(
            Methods(),
            f"some of {', '.join(registry.comparable(registry.METHODS))}; {REFERENCE} is always"
            " among them (default: all that the bundle can serve)",
        )
    )

    def checked(self) -> Self:
        """The same with ``REFERENCE`` first and every option's value filled in and checked.

        The reference's options, which are those of inference, are every method's: all start from
        one segmentation by the source model.

        Raises:
            RequestError: an unknown method, option or device, a value out of range, an option of
                inference that differs from the reference's, or nothing to compare.
        """
        super().checked()
        if registry.AUTO in self.methods:
            raise RequestError(
                f"methods: found {registry.AUTO}, which chooses among the others, expected methods"
                " to compare; leave it out, or use run, which also keeps what else it tried"
            )
        given = self.methods.get(REFERENCE, {})
        source = registry.find(REFERENCE).values(given, self.preset).to_dict()
        methods = {REFERENCE: source}
        for name, given in self.methods.items():
            method = registry.find(name)
            shared = {
                option.name: source[option.name]
                for option in method.options
                if option.name in source
            }
            methods[name] = method.values({**shared, **given}, self.preset).to_dict()
            for option, value in shared.items():
                if methods[name][option] != value:
                    raise RequestError(
                        f"option {name}.{option}: found {methods[name][option]}, expected {value},"
                        f" that of {REFERENCE}, as all methods start from one segmentation by the"
                        f" source model; give {REFERENCE}.{option} for all"
                    )
        if len(methods) < 2:
            raise RequestError(
                f"methods: found no other than {REFERENCE}, expected at least one of"
                f" {', '.join(n for n in registry.comparable(registry.METHODS) if n != REFERENCE)}"
            )
        labelled.check(self.labels, tuple(methods))
        return replace(self, methods=methods)
