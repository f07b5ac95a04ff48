"""The result folder is whole or absent."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from SFDALib.errors import Cancelled, RequestError
from SFDALib.results import folder as folder_module
from SFDALib.results.folder import ResultFolder, write_atomically


def names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


class TestResultFolder:
    def test_appears_whole_at_the_end_and_not_before(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        with ResultFolder(out) as partial:
            (partial / "samples").mkdir()
            (partial / "samples" / "a.txt").write_text("a")
            assert not out.exists()
        assert (out / "samples" / "a.txt").read_text() == "a"
        assert names_in(tmp_path) == {"out"}

    def test_can_be_read_by_whom_the_umask_lets(self, tmp_path: Path) -> None:
        (tmp_path / "plain").mkdir()
        with ResultFolder(tmp_path / "out"):
            pass
        assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode

    @pytest.mark.parametrize("kind", ["folder", "file", "broken link"])
    def test_refuses_what_exists_and_leaves_it_alone(self, tmp_path: Path, kind: str) -> None:
        out = tmp_path / "out"
        if kind == "folder":
            out.mkdir()
        elif kind == "file":
            out.write_text("mine")
        else:
            out.symlink_to(tmp_path / "nowhere")
        with pytest.raises(RequestError, match="exists already") as refusal, ResultFolder(out):
            pytest.fail("it opened")
        assert "\n" not in str(refusal.value)
        assert names_in(tmp_path) == {"out"}
        assert kind != "file" or out.read_text() == "mine"

    def test_refuses_a_missing_parent(self, tmp_path: Path) -> None:
        with (
            pytest.raises(RequestError, match="nowhere does not exist"),
            ResultFolder(tmp_path / "nowhere" / "out"),
        ):
            pytest.fail("it opened")
        assert names_in(tmp_path) == set()

    def test_refuses_a_parent_without_permission(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        try:
            if os.access(tmp_path, os.W_OK):
                pytest.skip("this user may write everywhere: permissions cannot be tested as root")
            with pytest.raises(RequestError, match="not permitted"), ResultFolder(tmp_path / "o"):
                pytest.fail("it opened")
        finally:
            tmp_path.chmod(0o700)

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            (errno.EACCES, "not permitted"),
            (errno.EROFS, "read-only"),
            (errno.ENOSPC, "disk is full"),
            (errno.EDQUOT, "quota"),
            (errno.EIO, os.strerror(errno.EIO)),
        ],
    )
    def test_says_why_it_cannot_be_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
    ) -> None:
        def refuse(path: Path) -> None:
            raise OSError(code, os.strerror(code), str(path))

        monkeypatch.setattr(Path, "mkdir", refuse)
        with pytest.raises(RequestError, match=words), ResultFolder(tmp_path / "out"):
            pytest.fail("it opened")

    @pytest.mark.parametrize("error", [KeyboardInterrupt, Cancelled, ValueError, SystemExit])
    def test_leaves_nothing_when_the_run_ends_badly(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        with pytest.raises(error), ResultFolder(tmp_path / "out") as partial:
            (partial / "half.txt").write_text("half")
            raise error
        assert names_in(tmp_path) == set()

    def test_says_that_the_disk_is_full(self, tmp_path: Path) -> None:
        with (
            pytest.raises(RequestError, match="disk is full") as refusal,
            ResultFolder(tmp_path / "out"),
        ):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        assert refusal.value.exit_status == 2
        assert names_in(tmp_path) == set()

    @pytest.mark.parametrize(("free", "expected"), [(0, RequestError), (1 << 40, RuntimeError)])
    def test_asks_the_disk_when_a_library_does_not_say(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        free: int,
        expected: type[Exception],
    ) -> None:
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(folder_module.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(expected), ResultFolder(tmp_path / "out"):
            raise RuntimeError("nrrdSave: trouble")

    def test_does_not_blame_itself_for_another_file(self, tmp_path: Path) -> None:
        elsewhere = str(tmp_path / "input.nrrd")
        with pytest.raises(PermissionError), ResultFolder(tmp_path / "out"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), elsewhere)

    @pytest.mark.parametrize("kind", ["empty folder", "folder", "file"])
    def test_refuses_what_appeared_meanwhile(self, tmp_path: Path, kind: str) -> None:
        out = tmp_path / "out"
        with pytest.raises(RequestError, match="exists already"), ResultFolder(out) as partial:
            (partial / "a.txt").write_text("ours")
            if kind == "file":
                out.write_text("theirs")
            else:
                out.mkdir()
            if kind == "folder":
                (out / "a.txt").write_text("theirs")
        assert names_in(tmp_path) == {"out"}
        assert kind != "folder" or (out / "a.txt").read_text() == "theirs"

    def test_killed_leaves_no_result_and_the_next_run_sweeps(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        script = (
            "import sys, time\n"
            "from SFDALib.results.folder import ResultFolder\n"
            "with ResultFolder(sys.argv[1]) as partial:\n"
            "    (partial / 'half.txt').write_text('half')\n"
            "    print('written', flush=True)\n"
            "    time.sleep(60)\n"
        )
        command = [sys.executable, "-c", script, str(out)]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8"
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "written\n"
            process.send_signal(signal.SIGKILL)
        (left,) = tmp_path.iterdir()
        assert left.name.startswith(".out.partial-")
        assert left.name.endswith(f"-{process.pid}")

        with ResultFolder(out):
            assert not left.exists()
        assert names_in(tmp_path) == {"out"}

    def test_sweeps_nothing_that_may_be_another_s(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        mine = folder_module.partial_prefix(out)
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        kept = {
            f"{mine}{dead.pid}.old",
            f".out.partial-another-node-{dead.pid}",
            f".out2{mine.removeprefix('.out')}{dead.pid}",
        }
        for name in kept | {f"{mine}{dead.pid}", f"{mine}{os.getpid()}"}:
            (tmp_path / name).mkdir()
        with ResultFolder(out):
            pass
        assert names_in(tmp_path) == kept | {"out"}

    def test_needs_the_standard_library_alone(self) -> None:
        script = (
            "import sys, SFDALib.results.folder, SFDALib.results.report\n"
            "print({'numpy', 'SimpleITK', 'matplotlib', 'torch'} & set(sys.modules))"
        )
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
        assert done.stdout == "set()\n"


class TestSingleFile:
    def test_appears_whole_with_its_suffix(self, tmp_path: Path) -> None:
        with write_atomically(tmp_path / "table.csv") as partial:
            assert partial.name == "table.csv"
            partial.write_text("a,b\n")
            assert not (tmp_path / "table.csv").exists()
        assert (tmp_path / "table.csv").read_text() == "a,b\n"
        assert names_in(tmp_path) == {"table.csv"}

    def test_is_absent_after_a_failure(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError), write_atomically(tmp_path / "table.csv") as partial:
            partial.write_text("a,")
            raise ValueError
        assert names_in(tmp_path) == set()

    def test_never_replaces(self, tmp_path: Path) -> None:
        (tmp_path / "table.csv").write_text("mine")
        with pytest.raises(RequestError), write_atomically(tmp_path / "table.csv"):
            pytest.fail("it opened")
        assert (tmp_path / "table.csv").read_text() == "mine"
