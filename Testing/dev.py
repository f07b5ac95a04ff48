"""One way to run everything: makes the environment once, then runs the command in it.

Standard library only, and readable by Python 3.9, because it is what a fresh clone starts with.
The environment is `.venv` in the repository's root. A stamp in it, written last, tells which
requirements it holds: an interrupted installation and changed requirements lead to a new one, and
an environment that this script did not make is never touched.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from system_libraries import missing_packages

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / "made-by-dev.txt"
LOG = ENVIRONMENT / "install.log"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
REQUIREMENTS = ROOT / "Testing" / "requirements.txt"
OLDEST, NEWEST = (3, 11), (3, 13)  # the Pythons that the pinned packages have wheels for


class SetupError(Exception):
    """The environment cannot be made; the one line says why and what to do."""


# --- The environment ---------------------------------------------------------------------------


def ensure_environment() -> None:
    """Make `.venv`, unless it is there and holds what the requirements ask for."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    stamp = STAMP.read_text(encoding="utf-8").strip() if STAMP.exists() else None
    if stamp == wanted and PYTHON.exists():
        return
    if stamp is None and ENVIRONMENT.exists():
        raise SetupError(
            f"{ENVIRONMENT} was not made by this script: rename or remove it, then run this again."
        )
    uv = shutil.which("uv")
    interpreter = find_interpreter(may_be_absent=uv is not None)
    started = time.monotonic()
    if stamp is not None:
        say("The requirements changed, or the last installation was interrupted: making .venv anew")
        shutil.rmtree(ENVIRONMENT)
    ENVIRONMENT.mkdir()
    STAMP.write_text("unfinished\n", encoding="utf-8")
    say(f"Making the environment {ENVIRONMENT} with {'uv' if uv else 'venv and pip'}")
    create_environment(uv, interpreter)
    install_requirements(uv)
    STAMP.write_text(wanted + "\n", encoding="utf-8")
    say(f"The environment is ready ({time.monotonic() - started:.0f} s)")


def find_interpreter(may_be_absent: bool) -> str | None:
    """The running Python if it fits, else one on PATH; None leaves the search to uv."""
    base = getattr(sys, "_base_executable", sys.executable)  # not the one in the .venv itself
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return base
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found and version_of(found) == (3, minor):
            return found
    if may_be_absent:
        return None
    raise SetupError(
        f"Python {dotted(OLDEST)} to {dotted(NEWEST)} is needed; this is "
        f"{dotted(sys.version_info[:2])} ({base}) and no other was found. "
        f"Install one from python.org, then start this script with it."
    )


def version_of(interpreter: str) -> tuple[int, ...] | None:
    """(major, minor) of an interpreter, None if it does not start (a pyenv shim may not)."""
    answer = subprocess.run(
        [interpreter, "-c", "import sys; print(*sys.version_info[:2])"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return tuple(map(int, answer.stdout.split())) if answer.returncode == 0 else None


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def create_environment(uv: str | None, interpreter: str | None) -> None:
    if uv:
        wanted = interpreter or f">={dotted(OLDEST)},<{NEWEST[0]}.{NEWEST[1] + 1}"
        command = [uv, "venv", "--allow-existing", "--python", wanted, str(ENVIRONMENT)]
        advice = ""
    else:
        command = [str(interpreter), "-m", "venv", str(ENVIRONMENT)]
        advice = " (on Debian and Ubuntu, the package python3-venv may be missing)"
    failure = run_logged(command)
    if failure:
        raise SetupError(f"Python's virtual environment could not be made{advice}: {failure}")


def install_requirements(uv: str | None) -> None:
    """Install the pinned packages, with PyTorch's CPU build where CUDA would be of no use."""
    say("Installing the packages; the first time takes some minutes")
    if uv:
        install = [uv, "pip", "install", "--python", str(PYTHON)]
    else:
        install = [str(PYTHON), "-m", "pip", "install", "--no-input"]
    if wants_cpu_build():
        install_cpu_build(install, uv)
    failure = run_logged([*install, "-r", str(REQUIREMENTS)])
    if failure:
        raise SetupError(f"The packages could not be installed: {failure} (all of it: {LOG})")


def wants_cpu_build() -> bool:
    """Only on Linux does the standard wheel bring CUDA along, whether there is a GPU or not."""
    return sys.platform == "linux" and shutil.which("nvidia-smi") is None


def install_cpu_build(install: list[str], uv: str | None) -> None:
    """Install the pinned PyTorch as its CPU build if it is on offer; it satisfies the pin."""
    pin = re.search(r"^torch==\S+", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    if pin is None:
        raise SetupError(f"{REQUIREMENTS} does not pin torch as 'torch==VERSION'.")
    ways = [[f"{pin.group()}+cpu"]]  # where the user's own index or wheel folder has it
    if uv:
        ways.append(["--torch-backend=cpu", pin.group()])  # uv knows where PyTorch keeps it
    for way in ways:
        failure = run_logged([*install, "-c", str(REQUIREMENTS), *way])
        if failure is None:
            return
    say(f"No CPU build of PyTorch here, so taking the standard one, of several GB ({failure})")


def run_logged(command: list[str]) -> str | None:
    """Run a command with its output in the log, its latest line on a terminal.

    Returns None if it succeeded, else the line of its output that says why it did not.
    """
    lines: deque[str] = deque([f"{command[0]} failed without a word"], maxlen=50)
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command)}\n")
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=clean_environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in filter(None, map(str.strip, process.stdout)):
                log.write(line + "\n")
                lines.append(line)
                show_passing(line)
        show_passing("")
    return None if process.returncode == 0 else reason(lines)


def reason(lines: deque[str]) -> str:
    """The last line that calls itself an error, else the last one."""
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines)[-1]


def show_passing(line: str) -> None:
    """Show a line in place of the one before, on a terminal only."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        sys.stdout.write("\r" + line[:width].ljust(width) + ("" if line else "\r"))
        sys.stdout.flush()


# --- The commands ------------------------------------------------------------------------------


def demo(arguments: list[str]) -> int:
    return run_python("Testing/tools/demo.py", *arguments)


def screenshots(arguments: list[str]) -> int:
    tell_missing_packages()
    return run_python("Testing/tools/screenshots.py", *arguments)


def test(arguments: list[str]) -> int:
    """ruff, mypy and pytest, all of them whatever one says; the first failure's status."""
    tell_missing_packages()
    checks = {
        "ruff check": run_python("-m", "ruff", "check", "."),
        "ruff format --check": run_python("-m", "ruff", "format", "--check", "."),
        "mypy": run_python("-m", "mypy"),
        "pytest": run_tests(arguments),
    }
    failed = {name: status for name, status in checks.items() if status != 0}
    if failed:
        say(f"Failed: {', '.join(failed)}")
    return next(iter(failed.values()), 0)


def run_tests(arguments: list[str]) -> int:
    """Whole test files side by side, so that what a file shares is made once; each takes 2 GB.

    Every process gets its share of the cores: torch's threads wait for each other while they spin.
    """
    cores = os.cpu_count() or 1
    workers = min(cores, 4)
    os.environ.setdefault("OMP_NUM_THREADS", str(cores // workers))
    return run_python("-m", "pytest", "-n", str(workers), "--dist", "loadfile", *arguments)


def tell_missing_packages() -> None:
    """Without the system's libraries the panel's tests skip; say what to install."""
    missing = missing_packages()
    if missing:
        say(
            "The panel's tests and pictures need packages of the system that are not installed:"
            f" sudo apt-get install {' '.join(missing)}"
        )


def run_python(*arguments: str) -> int:
    """Run the environment's Python in the repository's root, where SFDALib is importable."""
    sys.stdout.flush()
    return subprocess.run(
        [str(PYTHON), *arguments], cwd=ROOT, env=clean_environ(), check=False
    ).returncode


def clean_environ() -> dict[str, str]:
    """Ours, without what would lead another Python's packages into the environment."""
    return {key: v for key, v in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}


def say(line: str) -> None:
    print(line, flush=True)


def main(argv: list[str]) -> int:
    commands = {"demo": demo, "test": test, "screenshots": screenshots}
    parser = argparse.ArgumentParser(
        description="Makes the environment .venv once, then runs the command in it.",
        epilog="What follows -- is passed on: dev.py test -- -k geometry",
    )
    parser.add_argument(
        "command",
        choices=list(commands),
        help="demo: adapt a model to the sample volumes and compare the methods; "
        "test: ruff, mypy and pytest; screenshots: draw the README's pictures of the panel anew",
    )
    at = argv.index("--") if "--" in argv else len(argv)
    command = commands[parser.parse_args(argv[:at]).command]
    try:
        ensure_environment()
        return command(argv[at + 1 :])
    except (SetupError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
