"""What a user gets who installs the extension, and what the extensions index asks of it.

The real CMake files run with a stand-in for Slicer's macros (``Testing/cmake``) that carries out
what they ask for and refuses what Slicer would refuse.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
import run_in_slicer
from paths import ROOT

from SFDALib import __version__

STANDIN = ROOT / "Testing" / "cmake"
INDEX_ENTRY = ROOT / ".github" / "SFDA.json"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MODULES = Path("lib/Slicer-5.10/qt-scripted-modules")
NO_TOOLS = re.compile(r"CMAKE_(C|CXX)_COMPILER|CMAKE_MAKE_PROGRAM|instance of Visual Studio")


# --- Building ----------------------------------------------------------------------------------


def configure(source: Path, build: Path) -> subprocess.CompletedProcess[str]:
    """``cmake`` on a source folder with the stand-in for Slicer; skips where it cannot run."""
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake on the PATH")
    arguments = ["cmake", "-S", source, "-B", build, f"-DSlicer_DIR={STANDIN.as_posix()}"]
    done = subprocess.run(arguments, capture_output=True, encoding="utf-8", check=False)
    if done.returncode and NO_TOOLS.search(done.stderr):
        pytest.skip("needs a C++ compiler and a build tool, which cmake looks for")
    return done


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configured build folder. Read only."""
    folder = tmp_path_factory.mktemp("build")
    done = configure(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the package holds. Read only."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(["cmake", "--install", build, "--prefix", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def description(installed: Path) -> dict[str, str]:
    """What the extensions manager shows, by field."""
    lines = (installed / "share/Slicer-5.10/SFDA.s4ext").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", maxsplit=1) for line in lines)


def files_below(folder: Path) -> set[str]:
    """All files, but those that Python makes when it imports."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


# --- What is installed -------------------------------------------------------------------------


def test_every_file_of_the_module_and_of_the_library_is_installed(installed: Path) -> None:
    module = files_below(ROOT / "SFDASegmenter") - {"CMakeLists.txt", "README.md"}
    library = {
        f"SFDALib/{name}"
        for name in files_below(ROOT / "SFDALib")
        if Path(name).name != "README.md"  # for those who read the source
    }

    assert files_below(installed / MODULES) == module | library


def test_the_module_needs_these_files() -> None:
    wanted = {
        "SFDASegmenter.py",
        "SFDASegmenterLib/__init__.py",
        "Scripts/adapt_and_segment.py",
        "Resources/Icons/SFDASegmenter.png",
        "Resources/UI/SFDASegmenter.ui",
        "Resources/requirements.txt",
        "Resources/Samples/samples.json",
    }

    assert wanted <= files_below(ROOT / "SFDASegmenter")


def test_the_installed_module_finds_the_library_beside_it(installed: Path) -> None:
    code = "import SFDASegmenterLib, SFDALib.methods.registry; print(SFDALib.__file__)"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    found = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=installed / MODULES,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert found.returncode == 0, found.stderr
    assert Path(found.stdout.strip()) == installed / MODULES / "SFDALib" / "__init__.py"


def test_the_application_runs_the_self_test_and_the_headless_script(build: Path) -> None:
    listing = subprocess.run(
        ["ctest", "--show-only=json-v1"],
        cwd=build,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    commands = {test["name"]: test["command"] for test in json.loads(listing.stdout)["tests"]}

    assert set(commands) == {
        "py_nomainwindow_qSlicerSFDASegmenterModuleGenericTest",
        "py_SFDASegmenter",
        "headless_result_removed",
        "py_adapt_and_segment",
    }
    headless = commands["py_adapt_and_segment"]
    for option in ("--bundle", "--input"):
        assert Path(headless[headless.index(option) + 1]).exists()
    assert headless[-1] == commands["headless_result_removed"][-1]


# --- What the extensions index asks ------------------------------------------------------------


def test_the_index_entry_is_what_the_index_accepts() -> None:
    entry = json.loads(INDEX_ENTRY.read_text(encoding="utf-8"))

    assert entry["$schema"] == (
        "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/"
        "slicer-extension-catalog-entry-schema-v1.0.2.json#"
    )
    required = {"$schema", "category", "scm_url", "scm_revision", "tier"}
    assert required | {"build_dependencies", "build_subdirectory"} == set(entry)
    assert entry["category"] == "Segmentation"
    assert entry["build_subdirectory"] == "."
    assert entry["tier"] in range(1, 6)
    address = urlsplit(entry["scm_url"])
    assert (address.scheme, address.netloc) == ("https", "github.com")
    assert Path(address.path).name.startswith("Slicer")
    assert b"\r" not in INDEX_ENTRY.read_bytes()


def test_the_index_entry_says_what_the_cmake_files_say(description: dict[str, str]) -> None:
    entry = json.loads(INDEX_ENTRY.read_text(encoding="utf-8"))

    assert description["name"] == INDEX_ENTRY.stem
    assert description["homepage"] == entry["scm_url"]
    assert description["depends"].split() == entry["build_dependencies"]


def test_the_description_says_what_the_index_asks(description: dict[str, str]) -> None:
    for said in ("Apache-2.0", "No related patents are known", "not a medical device"):
        assert said in description["description"]
    words = description["keywords"].split()
    assert len(words) == len(set(words)) > 5
    assert {"segmentation", "domain-adaptation"} <= set(words)
    recommended = description["recommends"].split()
    assert recommended and not set(recommended) & set(description["depends"].split())


@pytest.mark.parametrize(
    "said",
    [
        *("## How to cite", "## When not to use this", "## Licence and patents", "Apache-2.0"),
        *("No patent", "nothing is uploaded", "*Sample Data > SFDA*", "SFDA Segmenter"),
        *("TotalSegmentator", "MRSegmentator", "VoxTell", "CITATION.cff"),
    ],
)
def test_the_readme_says_what_the_index_asks(said: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert said in " ".join(readme.split())


def test_the_citation_says_what_the_other_files_say(description: dict[str, str]) -> None:
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= set(citation)
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
    assert citation["repository-code"] == description["homepage"]
    assert [author["name"] for author in citation["authors"]] == [description["contributors"]]
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year"} <= set(reference)


def test_the_newest_entry_of_the_changes_is_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = next(line for line in text.splitlines() if line.startswith("## "))
    assert newest.split()[1] == __version__


@pytest.mark.parametrize("knows_titles", [True, False], ids=["since 5.12", "before"])
def test_the_samples_are_offered_with_title_and_checksum(
    monkeypatch: pytest.MonkeyPatch, knows_titles: bool
) -> None:
    titles: dict[str, str] = {}
    samples: list[dict[str, str]] = []
    logic = {"registerCustomSampleDataSource": lambda **sample: samples.append(sample)}
    if knows_titles:
        logic["registerCustomSampleDataCategory"] = lambda category, title: titles.update(
            {category: title}
        )
    monkeypatch.setitem(
        sys.modules, "SampleData", SimpleNamespace(SampleDataLogic=SimpleNamespace(**logic))
    )
    monkeypatch.setitem(sys.modules, "slicer", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "slicer.i18n", SimpleNamespace(tr=lambda text: text))
    monkeypatch.syspath_prepend(ROOT / "SFDASegmenter")
    path = ROOT / "SFDASegmenter" / "SFDASegmenterLib" / "sample_data.py"
    spec = importlib.util.spec_from_file_location("sample_data_of_this_test", path)
    sample_data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sample_data)

    sample_data.register()

    assert {sample["category"] for sample in samples} == {"SFDA"}
    assert ("SFDA" in titles) == knows_titles
    assert all(title.startswith("SFDA") for title in titles.values())
    assert len(samples) == 2
    for sample in samples:
        content = Path(unquote(urlsplit(sample["uris"]).path)).read_bytes()
        assert sample["checksums"] == f"SHA256:{hashlib.sha256(content).hexdigest()}"
        assert png_size(Path(sample["thumbnailFileName"]))


def test_the_pictures_of_the_description_are_in_the_repository(
    description: dict[str, str],
) -> None:
    entry = json.loads(INDEX_ENTRY.read_text(encoding="utf-8"))
    repository = urlsplit(entry["scm_url"]).path
    raw = f"https://raw.githubusercontent.com{repository}/{entry['scm_revision']}/"
    addresses = [description["iconurl"], *description["screenshoturls"].split()]

    assert len(addresses) >= 2
    for address in addresses:
        assert address.startswith(raw)
        assert png_size(ROOT / address.removeprefix(raw))


def test_the_index_can_read_the_addresses_as_text(description: dict[str, str]) -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")

    for field in ("iconurl", "screenshoturls"):
        assert f'set(EXTENSION_{field.upper()} "{description[field]}")' in text


@pytest.mark.parametrize("icon", ["SFDA.png", "SFDASegmenter/Resources/Icons/SFDASegmenter.png"])
def test_an_icon_is_128_pixels_wide_and_high(icon: str) -> None:
    assert png_size(ROOT / icon) == (128, 128)


def png_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels; fails if the file is no PNG."""
    start = path.read_bytes()[:24]
    assert start[:16] == b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR", path
    return struct.unpack(">II", start[16:])


# --- The workflows -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_well_formed(path: Path) -> None:
    """As text: no YAML reader is among the pinned packages."""
    lines = path.read_text(encoding="utf-8").splitlines()
    keys = [line.split(":")[0] for line in lines if re.match(r"\w", line)]
    used = [line.split("uses:")[1].strip() for line in lines if "uses:" in line]

    assert keys == ["name", "on", "permissions", "concurrency", "jobs"]
    assert not [line for line in lines if "\t" in line or (len(line) - len(line.lstrip())) % 2]
    assert used
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_names_files_that_are_there(path: Path) -> None:
    named = re.findall(r"(?:Testing|SFDASegmenter)/[\w./-]+", path.read_text(encoding="utf-8"))

    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


# --- The stand-in for Slicer's macros ----------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("slicerMacroBuildScriptedModule(NAME A ICONS b SCRIPTS a.py)", "unknown keywords: ICONS"),
        ("slicerMacroBuildScriptedModule(NAME A SCRIPTS a.py b.py)", "b.py does not exist"),
        ("slicerMacroBuildScriptedModule(NAME A SCRIPTS a.py ../a.py)", "outside of"),
        ("slicerMacroBuildScriptedModule(NAME A SCRIPTS a.py a.py)", "listed twice"),
        ("slicerMacroBuildScriptedModule(NAME A SCRIPTS a.py RESOURCES lib)", "is a folder"),
        ("slicerMacroBuildScriptedModule(NAME A RESOURCES a.py)", "needs SCRIPTS"),
        ("slicer_add_python_unittest(SCRIPT b.py)", "b.py does not exist"),
        ("slicer_add_python_test(SCRIPT a.py ARGS --fast)", "unknown keywords: ARGS"),
        ("include(${Slicer_EXTENSION_CPACK})", "before the packaging"),
    ],
)
def test_the_standin_refuses(tmp_path: Path, call: str, complaint: str) -> None:
    (tmp_path / "a.py").touch()
    (tmp_path / "lib").mkdir()
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16.3...3.28)\nproject(A NONE)\n"
        "find_package(Slicer REQUIRED)\ninclude(${Slicer_USE_FILE})\n" + call,
        encoding="utf-8",
    )

    done = configure(tmp_path, tmp_path / "build")

    assert done.returncode != 0
    assert complaint in " ".join(done.stderr.split())


# --- The runner of the self-test ---------------------------------------------------------------


class Passing(unittest.TestCase):
    __test__ = False  # these classes are given to the runner, not to pytest

    def test_one(self) -> None:
        pass


class Failing(Passing):
    def test_two(self) -> None:
        self.fail()


class Skipping(Passing):
    def test_two(self) -> None:
        self.skipTest("no GPU")


class Older(Passing):
    def test_two(self) -> None:
        self.skipTest("this version of Slicer has no export to DICOM SEG")


class Empty(unittest.TestCase):
    __test__ = False

    def runTest(self) -> None:  # as in Slicer's base class
        pass


def test_the_self_test_passes_when_all_tests_have_run(capsys: pytest.CaptureFixture[str]) -> None:
    run_in_slicer.run(Passing)

    assert "1 tests passed" in capsys.readouterr().out


def test_the_self_test_may_skip_what_the_application_is_too_old_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_in_slicer.run(Older)

    assert "skipped: this version of Slicer has no export" in (said := capsys.readouterr().out)
    assert "1 tests passed" in said


@pytest.mark.parametrize(
    ("test_case", "reason"),
    [
        (Failing, "failed"),
        (Skipping, "1 of 2 tests skipped: no GPU"),
        (Empty, "has no tests"),
    ],
)
def test_the_self_test_fails_otherwise(test_case: type[unittest.TestCase], reason: str) -> None:
    with pytest.raises(RuntimeError, match=reason):
        run_in_slicer.run(test_case)


def test_the_self_test_fails_when_slicer_has_not_loaded_the_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slicer = SimpleNamespace(
        app=SimpleNamespace(applicationVersion="5.10.0"), modules=SimpleNamespace()
    )
    monkeypatch.setitem(sys.modules, "slicer", slicer)

    with pytest.raises(RuntimeError, match="has not loaded the module"):
        run_in_slicer.main()
