"""Which of nnU-Net's trainers leave a model's network, preprocessing and inference as planned."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

from SFDALib.errors import RequestError

PICKLE_LIMIT = 1 << 26  # bytes of a checkpoint's description

# nnU-Net's own trainers (2.8) that leave network, preprocessing and inference as the plans say: the
# endings of their names
TRAINERS = frozenset(
    f"nnUNetTrainer{ending}"
    for ending in (
        *("", "Adam", "Adam1en3", "Adam3en4", "Adan", "Adan1en1", "Adan1en3", "Adan3en4"),
        *("AdanCosAnneal", "VanillaAdam", "VanillaAdam1en3", "VanillaAdam3en4", "CosAnneal"),
        *("Benchmark_5epochs", "Benchmark_5epochs_noDataLoading", "CELoss", "CELoss_5epochs"),
        *("DA5", "DA5Segord0", "DA5_10epochs", "DA5ord0", "NoDA", "_DASegOrd0"),
        *("DiceCELoss_noSmooth", "DiceLoss", "DiceTopK10Loss", "Topk10Loss", "Topk10LossLS01"),
        *("NoDeepSupervision", "NoMirroring", "_DASegOrd0_NoMirroring", "_noDummy2DDA", "_warmup"),
        *("_onlyMirror01", "_onlyMirror01_1500ep", "_onlyMirror01_DA5", "_onlyMirror01_DASegOrd0"),
        *(f"_probabilisticOversampling{share}" for share in ("", "_010", "_033")),
        *("_1epoch", *(f"_{n}epochs" for n in (5, 10, 20, 50, 100, 250, 500, 750))),
        *(f"_{n}epochs" for n in (2000, 4000, 8000)),
        *(f"_{n}epochs_NoMirroring" for n in (250, 2000, 4000, 8000)),
    )
)


def check_trainer(trainer: object, where: str, trust: bool) -> None:
    """Args:
        trust: take over one that is not known.

    Raises:
        RequestError: it is not known, or has no name.
    """
    if isinstance(trainer, str) and (trust or trainer in TRAINERS):
        return
    raise RequestError(
        f'{where}: found the trainer "{str(trainer)[:80]}", expected one of nnU-Net\'s own that'
        " keep network and inference as planned; others may do what the plans do not say: if you"
        " know that it changes the training alone, import the model with import-model"
        " --trust-trainer"
    )


def caution(trainer: str) -> tuple[str, ...]:
    """What a reader of every result should know where the trainer was trusted."""
    if trainer in TRAINERS:
        return ()
    return (
        f"The model was trained by {trainer[:80]}, which is not nnU-Net's own: that it changes"
        " neither network nor inference is what its importer said (--trust-trainer).",
    )


def named_trainer(file: Path) -> str | None:
    """The trainer that a checkpoint names, by the words in its pickle, which is not executed; None
    where it is not found.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entry = next(e for e in archive.infolist() if e.filename.endswith("data.pkl"))
            if entry.file_size > PICKLE_LIMIT:
                return None
            words = pickletools.genops(archive.read(entry))
            texts = (argument for _, argument, _ in words if isinstance(argument, str))
            for text in texts:
                if text == "trainer_name":
                    return next(texts, None)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, StopIteration, NotImplementedError):
        pass  # what is damaged is told where it is read
    return None
