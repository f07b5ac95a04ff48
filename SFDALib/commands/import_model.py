"""``SFDALib import-model``: make a bundle of a model that was trained elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from SFDALib.bundle.configuration import write_template
from SFDALib.bundle.source_model import ImportOptions
from SFDALib.errors import RequestError
from SFDALib.jobs import events
from SFDALib.jobs.inspect import in_words, inspect
from SFDALib.networks.med_ddpm import MED_DDPM_PRESETS


def add(commands: Any) -> None:
    """Add the command to the parser.

    Args:
        commands: what ``argparse.ArgumentParser.add_subparsers`` returned.
    """
    command = commands.add_parser(
        "import-model", help="make a bundle of a model that was trained elsewhere"
    )
    command.add_argument(
        "model",
        nargs="?",
        help="the folder of an nnU-Net v2 model, a MONAI bundle (folder or .zip), a file with a"
        " state dict (see --describe), or, with --labels, a bundle of this software",
    )
    command.add_argument("--output", help="the bundle folder to write; it must not exist")
    command.add_argument(
        "--labels",
        metavar="FOLDER",
        help="a folder of label maps with the model's labels, such as nnU-Net's labelsTr or earlier"
        " segmentations of the same structures on any modality: plausible volumes and other sizes"
        " are measured on them and written into the bundle; 10 or more are advisable",
    )
    command.add_argument(
        "--relabel",
        default="",
        metavar="1=2,2=1",
        help="for --labels: pairs of a value in the label maps and the model's label that it stands"
        " for; for --diffusion: pairs of a BraTS label (1 necrosis, 2 edema, 3 enhancing tumour)"
        " and the label of the same structure in the bundle; default: the same numbers",
    )
    _add_diffusion(command)
    _add_nnunet(command)
    command.add_argument(
        "--region-order",
        default="",
        metavar="NAME,NAME",
        help="MONAI bundle with overlapping regions: their names in painting order, the outermost"
        " first",
    )
    command.add_argument(
        "--describe",
        metavar="FILE",
        help="state dict: the JSON file that describes its model (see --template)",
    )
    command.add_argument(
        "--template",
        metavar="FILE",
        help="write an example of the JSON for --describe to this file, and do nothing else",
    )
    command.set_defaults(command=_import)


def _add_diffusion(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--diffusion",
        choices=tuple(MED_DDPM_PRESETS),
        help="add the published Med-DDPM weights in MODEL to --bundle as its diffusion model,"
        " trained on BraTS (med-ddpm-brats) or on whole heads (med-ddpm-128)",
    )
    command.add_argument("--bundle", help="for --diffusion: the bundle to copy; it is not changed")


def _add_nnunet(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--configuration",
        help="nnU-Net: the configuration to import, such as 3d_fullres, where there are several",
    )
    command.add_argument(
        "--fold",
        default="all",
        help="nnU-Net: the folds to import: all, one (0) or several (0,1); several are averaged"
        " and take as many times as long",
    )
    command.add_argument(
        "--trust-trainer",
        action="store_true",
        help="nnU-Net: import a model of a custom trainer; only if that trainer changes nothing"
        " but the training",
    )


def _import(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    if arguments.template:
        write_template(Path(arguments.template))
        return
    if not arguments.model or not arguments.output:
        raise RequestError(
            "import-model: found no model or no --output, expected both; see import-model --help"
        )
    if arguments.relabel and not (arguments.labels or arguments.diffusion):
        raise RequestError(
            "import-model: found --relabel alone, expected it with --labels or --diffusion; add one"
            " of them or leave it out"
        )
    notes = _diffusion(arguments) if arguments.diffusion or arguments.bundle else _model(arguments)
    print(in_words(inspect(Path(arguments.output))))
    for note in notes:
        print(f"  note            {note}")


# Importing needs torch, which takes seconds and the other commands' parsers do without.
def _diffusion(arguments: argparse.Namespace) -> tuple[str, ...]:
    if not (arguments.diffusion and arguments.bundle):
        raise RequestError(
            "import-model: found --diffusion or --bundle alone, expected --diffusion with --bundle;"
            " add the missing one"
        )
    if arguments.labels:
        raise RequestError(
            "import-model: found --labels with --diffusion, expected one of them; give --labels in"
            " a second call, with the bundle that the first one wrote as MODEL"
        )
    from SFDALib.jobs.import_model import import_diffusion
    from SFDALib.training.manifest import read_relabel

    files = (Path(arguments.model), arguments.diffusion, Path(arguments.bundle))
    import_diffusion(*files, read_relabel(arguments.relabel), Path(arguments.output))
    return ()


def _model(arguments: argparse.Namespace) -> tuple[str, ...]:
    from SFDALib.jobs.import_model import import_model
    from SFDALib.training.label_maps import LabelFolder
    from SFDALib.training.manifest import read_relabel

    options = ImportOptions(
        configuration=arguments.configuration,
        folds=arguments.fold,
        region_order=tuple(filter(None, arguments.region_order.split(","))),
        description=Path(arguments.describe) if arguments.describe else None,
        trust_trainer=arguments.trust_trainer,
    )
    model, output = Path(arguments.model), Path(arguments.output)
    if arguments.labels is None:
        return import_model(model, output, options)
    labels = LabelFolder(Path(arguments.labels), read_relabel(arguments.relabel))
    with events.reporter("auto") as progress:
        return import_model(model, output, options, labels, progress)
