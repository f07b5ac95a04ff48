"""Where the repository and its fixtures are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARITY = ROOT / "Testing" / "parity"  # numbers computed with the originals
