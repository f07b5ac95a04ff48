"""The command line. ``python -m SFDALib --help`` describes it.

Exit status: 0 done; 1 a defect of ours; 2 the request or its input is unusable; 3 out of memory;
130 cancelled.
"""

from __future__ import annotations

import _thread
import argparse
import errno
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from SFDALib import __version__, registry
from SFDALib.commands import compare, estimate
from SFDALib.commands.words import add_common, add_request, given, refuse_beside_job, require
from SFDALib.errors import Cancelled, RequestError, SFDAError
from SFDALib.jobs import events
from SFDALib.jobs.exhaustion import as_out_of_memory
from SFDALib.jobs.request import FIELDS, GATES, REQUIRED, Job, parse_options, read_job
from SFDALib.training import AUGMENTATIONS

log = logging.getLogger("SFDALib")
REFUSALS_OF_THE_SYSTEM = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EFBIG),
)
NOTICE = "Research software, not a medical device."


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the words in one line."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{self.prog}: {message}; see {self.prog} --help")


class StderrHandler(logging.StreamHandler):
    """Writes to what ``sys.stderr`` is at the moment: a progress bar puts itself there, so that
    lines come out above it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        self.setStream(sys.stderr)
        super().emit(record)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; a defect of ours escapes as it is."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[StderrHandler()])
    reporter = events.Reporter()
    try:
        arguments = parser().parse_args(words)
        if getattr(arguments, "stop_with_stdin", False):
            cancel_when_input_ends()
        reporter = events.reporter(getattr(arguments, "progress", "none"))
        with reporter:
            status = arguments.command(arguments, reporter) or 0
            sys.stdout.flush()
            return status
    except SystemExit:  # of --help and --version
        raise
    except BaseException as error:
        failure = _as_failure(error)
        if failure is None:
            reporter.event("error", message=f"a defect of SFDALib: {error!r}", status=1)
            raise
        log.error("SFDALib: %s", failure)
        reporter.event("error", message=str(failure), status=failure.exit_status)
        return failure.exit_status


def _as_failure(error: BaseException) -> SFDAError | Cancelled | None:
    """The failure that an exception means to the user; None for a defect of ours."""
    if isinstance(error, SFDAError | Cancelled):
        return error
    if isinstance(error, BrokenPipeError):
        # Nobody hears what else is said there, such as Python's own flush when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Cancelled("cancelled, as nobody reads the output any more")
    if isinstance(error, OSError) and error.errno in REFUSALS_OF_THE_SYSTEM:
        where = f"{str(error.filename)[:200]}: " if error.filename else ""
        return RequestError(
            f"{where}cannot be used ({error.strerror}); check the path, permissions and the disk"
        )
    return as_out_of_memory(error, "lower --batch if you train")


def cancel_on_signals() -> None:
    """Let SIGTERM and SIGINT end the job once; what follows them must not disturb the cleaning."""

    def cancel(signum: int, frame: object) -> NoReturn:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Cancelled("cancelled; nothing was written")

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, cancel)


def cancel_when_input_ends() -> None:
    """Cancel the job once standard input ends: its owner closed it, or is no more. This works on
    every system, where signals to other processes do not.
    """

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1 << 16):  # unbuffered: nothing is locked at the end
            pass
        _thread.interrupt_main(signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="SFDALib", description=f"Source-free domain adaptation. {NOTICE}")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    _add_run(commands)
    _add_cohort(commands)
    compare.add(commands)
    _add_evaluate(commands)
    _add_methods(commands)
    _add_inspect(commands)
    _add_import(commands)
    estimate.add(commands)
    _add_train(commands)
    return top


def _add_method_words(command: argparse.ArgumentParser, files: str) -> None:
    add_request(command, files, "NAME=VALUE")
    command.add_argument("--method", help=", ".join(registry.METHODS))
    command.add_argument(
        "--gate",
        choices=GATES,
        help="on (default): deliver what the judge trusts; off: always the method's result",
    )


def _job(arguments: argparse.Namespace) -> Job:
    stated = _stated(arguments)
    require(stated, REQUIRED)
    return Job(**stated)


def _stated(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of a Job that the words state."""
    stated = given(arguments, FIELDS)
    if arguments.option:
        stated["options"] = parse_options(arguments.option)
    return stated


def _add_run(commands: Any) -> None:
    command = commands.add_parser(
        "run",
        help="one method on one image",
    )
    _add_method_words(command, "the image; several files are its channels")
    command.add_argument("--job", help="a JSON file that describes all of this instead")
    command.set_defaults(command=_run)


def _run(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    if arguments.job:
        refuse_beside_job(_stated(arguments), arguments.job)
    job = read_job(Path(arguments.job)) if arguments.job else _job(arguments)
    job = job.checked()  # before torch is imported
    from SFDALib.jobs.run import run

    run(job, reporter)


def _add_cohort(commands: Any) -> None:
    command = commands.add_parser("cohort", help="one method on many images")
    _add_method_words(command, "the images; a folder stands for the image files in it")
    command.add_argument(
        "--adapt",
        choices=("each", "once"),
        default="each",
        help="to every image by itself, or once to all of them",
    )
    command.set_defaults(command=_cohort)


def _cohort(arguments: argparse.Namespace, reporter: events.Reporter) -> int:
    job = _job(arguments).checked()
    from SFDALib.jobs.cohort import run_cohort

    summary = run_cohort(job, arguments.adapt, reporter)
    return RequestError.exit_status if summary["failed"] else 0


def _add_evaluate(commands: Any) -> None:
    command = commands.add_parser("evaluate", help="results against a reference segmentation")
    command.add_argument("--result", action="append", required=True, metavar="FILE_OR_FOLDER")
    command.add_argument("--reference", required=True)
    command.add_argument("--tolerance-mm", type=float, default=2.0, help="of the surface Dice")
    command.add_argument("--json", dest="table", help="write the table as JSON, too")
    command.set_defaults(command=_evaluate)


def _evaluate(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    from SFDALib.jobs.evaluate import evaluate

    summary = evaluate(
        [Path(path) for path in arguments.result],
        Path(arguments.reference),
        arguments.tolerance_mm,
        Path(arguments.table) if arguments.table else None,
    )
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("result", overflow="fold"))
    for heading in ("label", "Dice", "ASD mm", "HD95 mm", "surface Dice", "ml", "ref. ml"):
        table.add_column(heading, justify="right", no_wrap=heading != "surface Dice")
    for row in summary["results"]:
        for values in row["classes"].values():
            numbers = ("dice", "asd_mm", "hd95_mm", "surface_dice", "predicted_ml", "reference_ml")
            table.add_row(
                row["result"], values["name"], *(f"{values[name]:.4g}" for name in numbers)
            )
    Console().print(table)


def _add_methods(commands: Any) -> None:
    command = commands.add_parser("methods", help="the methods and their options")
    command.add_argument("--json", action="store_true", help="as data")
    command.set_defaults(command=_methods)


def _methods(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    if arguments.json:
        print(json.dumps([method.to_dict() for method in registry.METHODS.values()], indent=2))
        return
    for method in registry.METHODS.values():
        print(f"{method.name}: {method.title}\n  {method.summary}\n  Paper: {method.paper}")
        print(f"  Updates: {method.updates}. Needs: {', '.join(method.needs) or 'any bundle'}.")
        print(f"  Cost: {method.cost}.")
        for option in method.options:
            print(f"    {option.name}={option.word()} ({option.expected()})  {option.help}")
        print()


def _add_inspect(commands: Any) -> None:
    command = commands.add_parser("inspect", help="what a bundle is, and whether it is usable")
    command.add_argument("bundle")
    command.add_argument("--json", action="store_true", help="as data")
    command.set_defaults(command=_inspect)


def _inspect(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    from SFDALib.jobs.inspect import in_words, inspect

    facts = inspect(Path(arguments.bundle))
    print(json.dumps(facts, indent=2) if arguments.json else in_words(facts))


def _add_import(commands: Any) -> None:
    command = commands.add_parser("import-model", help="a bundle of a model trained elsewhere")
    command.add_argument(
        "model", nargs="?", help="a model folder of nnU-Net v2, a MONAI bundle, or a state dict"
    )
    command.add_argument("--output", help="bundle folder to write")
    command.add_argument("--configuration", help="of nnU-Net, such as 3d_fullres")
    command.add_argument("--fold", default="all", help="of nnU-Net: all (an ensemble), 0 or 0,1")
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
    from SFDALib.jobs.import_model import Choices, import_model
    from SFDALib.jobs.inspect import in_words, inspect

    output = Path(arguments.output)
    choices = Choices(
        configuration=arguments.configuration,
        folds=arguments.fold,
        region_order=tuple(filter(None, arguments.region_order.split(","))),
        description=Path(arguments.describe) if arguments.describe else None,
    )
    import_model(Path(arguments.model), output, choices)
    print(in_words(inspect(output)))


def _add_train(commands: Any) -> None:
    command = commands.add_parser(
        "train", help="a source model, at the source site", description="Also under torchrun."
    )
    kinds = command.add_subparsers(required=True, metavar="KIND", parser_class=Parser)
    segmentation = kinds.add_parser("segmentation", help="a segmentation network")
    segmentation.add_argument("--config", required=True, help="JSON: network, grid, labels")
    segmentation.add_argument("--loss", choices=("ce", "dice-ce"), default="ce")
    _training_arguments(segmentation, steps=10000, rate=1e-3)
    segmentation.set_defaults(command=_train, train=_train_segmentation)
    head = kinds.add_parser("early-head", help="a head on early features, for a bundle")
    head.add_argument("--bundle", required=True)
    head.add_argument("--level", type=int, choices=(0, 1), default=0)
    _training_arguments(head, steps=2000, rate=1e-3)
    head.set_defaults(command=_train, train=_train_early_head)
    diffusion = kinds.add_parser("diffusion", help="a diffusion model, for a bundle")
    diffusion.add_argument("--bundle", required=True)
    diffusion.add_argument("--config", required=True, help="JSON: network, spacing, conditions")
    diffusion.add_argument("--patch-size", required=True, help="such as 112,96 or 128,128,128")
    diffusion.add_argument(
        "--corruption",
        type=float,
        default=0.0,
        help="share of patches with a damaged mask, as denoised pseudo-labels are",
    )
    _training_arguments(diffusion, steps=100000, rate=1e-5, ema=0.999)
    diffusion.set_defaults(command=_train, train=_train_diffusion)


def _training_arguments(
    command: argparse.ArgumentParser, steps: int, rate: float, ema: float = 0.0
) -> None:
    command.add_argument(
        "--manifest", required=True, help="CSV with image,label,split, or nnU-Net's raw folder"
    )
    command.add_argument(
        "--relabel", default="", metavar="1=2,2=1", help="labels in the files = in the bundle"
    )
    command.add_argument("--output", required=True, help="bundle folder to write")
    command.add_argument("--steps", type=int, default=steps)
    command.add_argument("--batch", type=int, default=20)
    command.add_argument("--learning-rate", type=float, default=rate)
    command.add_argument("--schedule", choices=("cosine", "constant"), default="cosine")
    command.add_argument("--weight-decay", type=float, default=0.0)
    command.add_argument("--ema", type=float, default=ema, help="moving average of the weights")
    command.add_argument(
        "--augment",
        choices=AUGMENTATIONS,
        default=AUGMENTATIONS[0],
        help="geometric: flips, rotations, scalings; intensity: brightness, contrast, gamma too",
    )
    command.add_argument("--amp", action="store_true", help="bfloat16 mixed precision")
    command.add_argument("--half", action="store_true", help="write half-precision weights")
    command.add_argument("--checkpoint-minutes", type=float, default=2.0)
    add_common(command)


def _train(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    from SFDALib.jobs.devices import resolve
    from SFDALib.training.loop import LoopOptions
    from SFDALib.training.manifest import read_manifest
    from SFDALib.training.request import TrainingRequest

    if arguments.steps < 1 or arguments.batch < 1 or arguments.learning_rate <= 0:
        raise RequestError("train: expected --steps and --batch of at least 1, --learning-rate > 0")
    loop = LoopOptions(
        steps=arguments.steps,
        learning_rate=arguments.learning_rate,
        schedule=arguments.schedule,
        weight_decay=arguments.weight_decay,
        ema=arguments.ema,
        mixed_precision=arguments.amp,
        seed=arguments.seed,
        checkpoint_minutes=arguments.checkpoint_minutes,
    )
    request = TrainingRequest(
        entries=read_manifest(Path(arguments.manifest), arguments.relabel),
        output=Path(arguments.output),
        batch=arguments.batch,
        augment=arguments.augment,
        half=arguments.half,
        loop=loop,
    )
    output = str(request.output.resolve())
    reporter.event("started", output=output)
    arguments.train(arguments, request, resolve(arguments.device), reporter)
    reporter.event("result", output=output)


def _train_segmentation(
    arguments: argparse.Namespace, request: Any, device: Any, reporter: events.Reporter
) -> None:
    from SFDALib.bundle.configuration import describe, read_config
    from SFDALib.training import segmentation

    description = describe(read_config(Path(arguments.config)))
    segmentation.train(request, description, arguments.loss, device, reporter)


def _train_early_head(
    arguments: argparse.Namespace, request: Any, device: Any, reporter: events.Reporter
) -> None:
    from SFDALib.training import early_head

    early_head.train(request, Path(arguments.bundle), arguments.level, device, reporter)


def _train_diffusion(
    arguments: argparse.Namespace, request: Any, device: Any, reporter: events.Reporter
) -> None:
    from SFDALib.bundle.configuration import read_config
    from SFDALib.training import diffusion

    described = diffusion.describe(read_config(Path(arguments.config)))
    try:
        patch_size = tuple(int(word) for word in arguments.patch_size.split(","))
    except ValueError as error:
        raise RequestError(f"--patch-size: found {arguments.patch_size}, expected n,n") from error
    diffusion.train(
        request,
        Path(arguments.bundle),
        described,
        patch_size,
        arguments.corruption,
        device,
        reporter,
    )


if __name__ == "__main__":
    cancel_on_signals()
    sys.stdout.reconfigure(errors="backslashreplace")  # where the locale lacks a letter
    sys.exit(main())
