"""``SFDALib import-model``: a bundle of a model trained elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from SFDALib.errors import RequestError
from SFDALib.jobs import events


def add(commands: Any) -> None:
    command = commands.add_parser("import-model", help="a bundle of a model trained elsewhere")
    command.add_argument(
        "model",
        nargs="?",
        help="a model folder of nnU-Net v2, a MONAI bundle, or a state dict",
    )
    command.add_argument("--output", help="bundle folder to write")
    command.add_argument(
        "--diffusion",
        choices=("med-ddpm-brats", "med-ddpm-128"),
        help="MODEL is a file of Med-DDPM's published weights, of BraTS or of whole heads, which"
        " becomes the diffusion model of --bundle",
    )
    command.add_argument("--bundle", help="for --diffusion: the bundle, which stays as it is")
    command.add_argument(
        "--relabel",
        default="",
        metavar="1=2,2=1",
        help="for --diffusion: labels of BraTS (1 necrosis, 2 edema, 3 enhancing) = in the bundle",
    )
    command.add_argument("--configuration", help="of nnU-Net, such as 3d_fullres")
    command.add_argument("--fold", default="all", help="of nnU-Net: all (an ensemble), 0 or 0,1")
    command.add_argument(
        "--trust-trainer",
        action="store_true",
        help="of nnU-Net: take over a trainer not its own, which must change the training alone",
    )
    command.add_argument(
        "--region-order",
        default="",
        metavar="NAME,NAME",
        help="of a MONAI bundle with overlapping regions: as they are painted, the outermost first",
    )
    command.add_argument("--describe", metavar="FILE", help="of a state dict: JSON about its model")
    command.add_argument(
        "--template", metavar="FILE", help="write such a JSON to fill in, and nothing else"
    )
    command.set_defaults(command=_import)


def _import(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    if arguments.template:
        from SFDALib.bundle.configuration import write_template

        write_template(Path(arguments.template))
        return
    if not arguments.model or not arguments.output:
        raise RequestError("import-model: expected a model and --output; see import-model --help")
    from SFDALib.bundle.source_model import ImportOptions
    from SFDALib.jobs.import_model import import_diffusion, import_model
    from SFDALib.jobs.inspect import in_words, inspect

    output = Path(arguments.output)
    if arguments.diffusion or arguments.bundle or arguments.relabel:
        if not (arguments.diffusion and arguments.bundle):
            raise RequestError("import-model: expected --diffusion and --bundle together")
        from SFDALib.training.manifest import read_relabel

        relabel = read_relabel(arguments.relabel)
        files = (Path(arguments.model), arguments.diffusion, Path(arguments.bundle))
        import_diffusion(*files, relabel, output)
        print(in_words(inspect(output)))
        return
    options = ImportOptions(
        configuration=arguments.configuration,
        folds=arguments.fold,
        region_order=tuple(filter(None, arguments.region_order.split(","))),
        description=Path(arguments.describe) if arguments.describe else None,
        trust_trainer=arguments.trust_trainer,
    )
    import_model(Path(arguments.model), output, options)
    print(in_words(inspect(output)))
