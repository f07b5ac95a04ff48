"""The result folder is whole or absent, and what lies in it is what was meant."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from paths import ROOT
from scipy import ndimage

import SFDALib
from SFDALib import __version__
from SFDALib.bundle.description import Label
from SFDALib.errors import Cancelled, RequestError
from SFDALib.hashing import sha256
from SFDALib.results import folder as folder_module
from SFDALib.results import images as images_module
from SFDALib.results.folder import ResultFolder, write_atomically
from SFDALib.results.images import write_map, write_segmentation
from SFDALib.results.overview import Overview, draw_overview, slices_that_say_most
from SFDALib.results.report import software_versions, write_report
from SFDALib.volume.geometry import Geometry

TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^123037004^Anatomical Structure~SCT^12738006^Brain~^^"
    "~Anatomic codes - DICOM master list~^^~^^"
)
LABELS = (
    Label(1, "Sinus", (120, 80, 40)),  # has no voxel: the first, which is Slicer's hardest case
    Label(2, "Brain", (250, 250, 225), TERMINOLOGY),
    Label(3, "Eye: left = L", (0, 151, 206)),
)


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """3x3, degrees about the axes."""
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.deg2rad((x, y, z)))
    return np.array(transform.GetMatrix()).reshape(3, 3)


GEOMETRIES = {
    "oblique and anisotropic": Geometry(
        (11, 9, 7), (0.7, 0.9, 4.2), (-81.5, 33.25, 1e3), tuple(rotation(12, -25, 40).ravel())
    ),
    "left-handed": Geometry(
        (11, 9, 7),
        (0.7, 0.9, 4.2),
        (-81.5, 33.25, -7.125),
        tuple((rotation(5, 10, -15) @ np.diag([1, 1, -1])).ravel()),
    ),
    "a single slice": Geometry((11, 9, 1), (0.5, 0.5, 1.0)),
}


@pytest.fixture(params=GEOMETRIES.values(), ids=GEOMETRIES)
def geometry(request: pytest.FixtureRequest) -> Geometry:
    return request.param


def label_map(geometry: Geometry) -> np.ndarray:
    values = np.zeros(geometry.shape, np.int64)
    values[:, 2:6, 3:8] = 2
    values[0, 7, 1] = 3
    return values


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
        mine = folder_module._partial_prefix(out)
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


class TestSegmentation:
    def test_reads_back_as_slicer_would(self, tmp_path: Path, geometry: Geometry) -> None:
        slicerio = pytest.importorskip("slicerio")
        path = tmp_path / "s.seg.nrrd"
        values = label_map(geometry)
        write_segmentation(path, values, geometry, LABELS, "HEAL")

        read = slicerio.read_segmentation(str(path))
        np.testing.assert_array_equal(read["voxels"], values.transpose())
        assert read["encoding"] == "gzip"
        assert read["masterRepresentation"] == "Binary labelmap"
        assert read["containedRepresentationNames"] == ["Binary labelmap"]
        assert read["referenceImageExtentOffset"] == [0, 0, 0]
        index_to_lps = np.eye(4)
        index_to_lps[:3, :3] = np.array(geometry.direction).reshape(3, 3) * geometry.spacing
        index_to_lps[:3, 3] = geometry.origin
        np.testing.assert_allclose(read["ijkToLPS"], index_to_lps, rtol=0, atol=1e-6)
        for label, segment in zip(LABELS, read["segments"], strict=True):
            assert segment["id"] == f"Segment_{label.value}"
            assert segment["name"] == label.name
            assert segment["labelValue"] == label.value
            assert segment["layer"] == 0
            assert not segment["nameAutoGenerated"]
            assert not segment["colorAutoGenerated"]
            assert [round(255 * part) for part in segment["color"]] == list(label.color)
            assert segment["tags"]["DICOM.SegmentAlgorithmType"] == "AUTOMATIC"
            assert segment["tags"]["DICOM.SegmentAlgorithmName"] == f"HEAL (SFDA {__version__})"
        found_by_name = read["segments"][0]["terminology"]  # "Sinus", which may be many things
        assert found_by_name["category"] == ["SCT", "85756007", "Tissue"]
        assert found_by_name["type"] == ["SCT", "85756007", "Tissue"]
        terminology = read["segments"][1]["terminology"]
        assert terminology["contextName"].endswith("3D Slicer General Anatomy list")
        assert terminology["category"] == ["SCT", "123037004", "Anatomical Structure"]
        assert terminology["type"] == ["SCT", "12738006", "Brain"]

    def test_keeps_its_geometry(self, tmp_path: Path, geometry: Geometry) -> None:
        write_segmentation(tmp_path / "s.seg.nrrd", label_map(geometry), geometry, LABELS, "HEAL")
        image = sitk.ReadImage(tmp_path / "s.seg.nrrd")
        assert image.GetPixelID() == sitk.sitkUInt8
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), label_map(geometry))
        np.testing.assert_allclose(image.GetSpacing(), geometry.spacing, rtol=0, atol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), geometry.origin, rtol=0, atol=1e-6)
        np.testing.assert_allclose(image.GetDirection(), geometry.direction, rtol=0, atol=1e-6)

    def test_gives_all_segments_one_extent(self, tmp_path: Path) -> None:
        # vtkMRMLSegmentationStorageNode clips a shared layer to its first segment's extent: with
        # the extent of an empty one there, every other segment would be lost.
        geometry = GEOMETRIES["left-handed"]
        write_segmentation(tmp_path / "s.seg.nrrd", label_map(geometry), geometry, LABELS, "HEAL")
        image = sitk.ReadImage(tmp_path / "s.seg.nrrd")
        extents = {image.GetMetaData(f"Segment{index}_Extent") for index in range(len(LABELS))}
        assert extents == {"0 10 0 8 0 6"}

    def test_is_the_same_file_each_time(self, tmp_path: Path) -> None:
        geometry = GEOMETRIES["left-handed"]
        write_segmentation(tmp_path / "a.seg.nrrd", label_map(geometry), geometry, LABELS, "HEAL")
        time.sleep(1.1)  # gzip can hold a time, in seconds
        write_segmentation(tmp_path / "b.seg.nrrd", label_map(geometry), geometry, LABELS, "HEAL")
        assert sha256(tmp_path / "a.seg.nrrd") == sha256(tmp_path / "b.seg.nrrd")

    def test_has_room_for_many_labels(self, tmp_path: Path) -> None:
        geometry = GEOMETRIES["a single slice"]
        labels = [Label(value, f"label {value}", (1, 2, 3)) for value in range(1, 301)]
        values = np.full(geometry.shape, 300)
        write_segmentation(tmp_path / "s.seg.nrrd", values, geometry, labels, "HEAL")
        image = sitk.ReadImage(tmp_path / "s.seg.nrrd")
        assert image.GetPixelID() == sitk.sitkUInt16
        assert sitk.GetArrayFromImage(image).min() == 300

    def test_refuses_what_no_label_explains(self, tmp_path: Path) -> None:
        geometry = GEOMETRIES["a single slice"]
        path = tmp_path / "s.seg.nrrd"
        with pytest.raises(ValueError, match=r"\[4\]"):
            write_segmentation(path, np.full(geometry.shape, 4), geometry, LABELS, "HEAL")
        with pytest.raises(ValueError, match="float64"):
            write_segmentation(path, np.zeros(geometry.shape), geometry, LABELS, "HEAL")
        with pytest.raises(ValueError, match="shape"):
            write_segmentation(path, np.zeros((11, 9, 1), int), geometry, LABELS, "HEAL")
        assert names_in(tmp_path) == set()


class TestMap:
    def test_keeps_values_and_geometry(self, tmp_path: Path, geometry: Geometry) -> None:
        values = np.random.default_rng(0).random(geometry.shape)
        write_map(tmp_path / "m.nrrd", values, geometry)
        image = sitk.ReadImage(tmp_path / "m.nrrd")
        assert image.GetPixelID() == sitk.sitkFloat32
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), values.astype(np.float32))
        np.testing.assert_allclose(image.GetSpacing(), geometry.spacing, rtol=0, atol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), geometry.origin, rtol=0, atol=1e-6)
        np.testing.assert_allclose(image.GetDirection(), geometry.direction, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
    def test_refuses_what_is_not_finite(self, tmp_path: Path, value: float) -> None:
        geometry = GEOMETRIES["a single slice"]
        values = np.zeros(geometry.shape)
        values[0, 0, 0] = value
        with pytest.raises(ValueError, match="1 of 99 values are not finite"):
            write_map(tmp_path / "m.nrrd", values, geometry)
        assert names_in(tmp_path) == set()

    @pytest.mark.parametrize("missing", [1, 100])
    def test_notices_a_file_cut_short(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int
    ) -> None:
        write_image = images_module.sitk.WriteImage

        def cut_short(image: sitk.Image, path: str, **options: bool) -> None:
            write_image(image, path, **options)
            os.truncate(path, os.path.getsize(path) - missing)

        monkeypatch.setattr(images_module.sitk, "WriteImage", cut_short)
        geometry = GEOMETRIES["left-handed"]
        values = np.random.default_rng(0).random(geometry.shape)
        with (
            pytest.raises(RequestError, match="disk is full"),
            ResultFolder(tmp_path / "out") as partial,
        ):
            write_map(partial / "m.nrrd", values, geometry)
        assert names_in(tmp_path) == set()


class TestReport:
    def test_is_strict_and_stable_json(self, tmp_path: Path) -> None:
        report = {
            "volume_ml": {"Brain": np.float32(1.5), "Eye": float("nan")},
            "losses": np.array([0.5, np.inf]),
            "chosen": np.int64(3),
            "adopted": np.bool_(True),
            "options": ("a", None, Path("in")),
            "name": "Gehirn, groß",
        }
        write_report(tmp_path / "a.json", report)
        write_report(tmp_path / "b.json", dict(reversed(report.items())))
        assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()

        def refuse(constant: str) -> None:
            pytest.fail(f"{constant} is not JSON")

        text = (tmp_path / "a.json").read_text(encoding="utf-8")
        read = json.loads(text, parse_constant=refuse)
        assert "not a medical device" in read.pop("notice")
        assert read == {
            "volume_ml": {"Brain": 1.5, "Eye": None},
            "losses": [0.5, None],
            "chosen": 3,
            "adopted": True,
            "options": ["a", None, "in"],
            "name": "Gehirn, groß",
        }

    def test_refuses_what_json_cannot_hold(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError):
            write_report(tmp_path / "a.json", {"x": object()})
        assert names_in(tmp_path) == set()

    def test_names_the_software(self) -> None:
        versions = software_versions()
        assert versions["SFDA"] == SFDALib.__version__
        assert versions["numpy"] == np.__version__
        assert versions["python"] == sys.version.split()[0]
        assert {"torch", "monai", "scikit-image", "SimpleITK"} <= set(versions)

    def test_digest_of_a_file_is_that_of_its_content(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
        expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert sha256(tmp_path / "a") == expected

    def test_digest_of_a_folder_tells_names_and_contents(self, tmp_path: Path) -> None:
        def digest(**files: str) -> str:
            folder = tmp_path / "f"
            shutil.rmtree(folder, ignore_errors=True)
            for name, text in files.items():
                path = folder / name.replace("_", "/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return sha256(folder)

        one = digest(b="2", a="1", c_d="3")
        assert one == digest(c_d="3", a="1", b="2")
        others = {
            digest(a="2", b="1", c_d="3"),
            digest(a="1", b="2"),
            digest(a="1", b="2", c_e="3"),
        }
        assert len(others | {one}) == 4
        lines = "".join(
            f"{hashlib.sha256(text).hexdigest()}  {name}\n"
            for name, text in (("a", b"1"), ("b", b"2"), ("c/d", b"3"))
        )
        assert one == hashlib.sha256(lines.encode()).hexdigest()


def head() -> Overview:
    """A head of two shells, 20 slices of 4 mm; the source's result is too small."""
    k, j, i = np.mgrid[-10:10, -40:40, -30:30] * np.array([4.0, 2.0, 2.0]).reshape(3, 1, 1, 1)
    radius = np.sqrt((k / 45) ** 2 + (j / 70) ** 2 + (i / 50) ** 2)
    image = (100 * (radius < 1) + 80 * (radius < 0.8)).astype(np.float32)
    return Overview(
        image=image,
        spacing_kji=(4.0, 2.0, 2.0),
        source_labels=2 * (radius < 0.6).astype(np.int64),
        final_labels=2 * (radius < 0.8).astype(np.int64),
        labels=LABELS,
        volumes=("0 ml → 0 ml", "142 ml → 338 ml (+138 %)", "0 ml → 0 ml"),
        title="HEAL on a phantom",
        subtitle="bundle head 1.0 · seed 0",
    )


def photograph() -> Overview:
    """A disc in a colour frame, K = 1."""
    j, i = np.mgrid[:90, :120]
    disc = ((j - 40) ** 2 + (i - 70) ** 2 < 25**2)[None]
    rgb = np.stack([0.4 + 0.4 * disc, 0.3 + 0 * disc, 0.2 + 0.1 * disc])
    return dataclasses.replace(
        head(),
        image=rgb,
        spacing_kji=(1.0, 1.0, 1.0),
        source_labels=np.roll(disc, 8, axis=2) * 2,
        final_labels=disc * 2,
    )


def with_uncertainty(overview: Overview) -> Overview:
    edge = (overview.source_labels != overview.final_labels).astype(np.float32)
    return dataclasses.replace(overview, uncertainty=edge)


def with_sample(overview: Overview) -> Overview:
    sample = np.random.default_rng(0).random(overview.source_labels.shape)
    return dataclasses.replace(overview, sample=sample, sample_caption="sample 3 of 6, S = 0.42")


def picture(tmp_path: Path, overview: Overview) -> np.ndarray:
    """(rows, columns, RGBA) 0..255 of the written PNG."""
    draw_overview(tmp_path / "o.png", overview)
    return sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "o.png"))


class TestOverview:
    @pytest.mark.parametrize("subject", [head, photograph])
    @pytest.mark.parametrize("sample", [False, True])
    @pytest.mark.parametrize("uncertainty", [False, True])
    def test_draws_every_kind(
        self, tmp_path: Path, subject: Callable[[], Overview], sample: bool, uncertainty: bool
    ) -> None:
        overview = with_uncertainty(subject()) if uncertainty else subject()
        overview = with_sample(overview) if sample else overview
        drawn = picture(tmp_path, overview)
        assert drawn.std() > 20
        if sample and uncertainty:
            assert drawn.shape[1] > picture(tmp_path, subject()).shape[1]

    def test_is_the_same_picture_each_time(self, tmp_path: Path) -> None:
        overview = with_sample(with_uncertainty(head()))
        draw_overview(tmp_path / "a.png", overview)
        with_other_defaults = (
            "import pickle, sys, matplotlib\n"
            "from SFDALib.results.overview import draw_overview\n"
            "matplotlib.rcParams.update({'font.size': 30, 'axes.facecolor': 'red'})\n"
            "draw_overview(sys.argv[1], pickle.load(sys.stdin.buffer))\n"
        )
        command = [sys.executable, "-c", with_other_defaults, str(tmp_path / "b.png")]
        subprocess.run(command, cwd=ROOT, input=pickle.dumps(overview), check=True)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    def test_cuts_no_text_off(self, tmp_path: Path) -> None:
        labels = [Label(value, f"Structure {value} " * 9, (200, 80, 60)) for value in range(1, 30)]
        drawn = picture(
            tmp_path,
            dataclasses.replace(
                with_sample(with_uncertainty(head())),
                title="1.2.840.113619.2.55.3.2831164355.927_" * 5,
                subtitle="W" * 400 + " $x^ \\frac{",
                sample_caption="a caption that is rather longer than its panel is wide " * 2,
                labels=labels,
                volumes=["1320 ml → 1410 ml (+7 %)"] * len(labels),
            ),
        )
        background, border = drawn[0, 0].copy(), 12
        drawn[border:-border, border:-border] = background
        assert (drawn == background).all()

    def test_shows_the_patient_s_right_on_the_left_with_true_proportions(
        self, tmp_path: Path
    ) -> None:
        final = np.zeros((3, 60, 40), int)
        final[1, 10:30, 5:15] = 1  # right, in front; 20 mm deep and 20 mm wide
        final[1, 40:50, 20:35] = 2  # left, behind; 10 mm deep and 30 mm wide
        overview = dataclasses.replace(
            head(),
            image=np.zeros(final.shape),
            spacing_kji=(4.0, 1.0, 2.0),
            source_labels=np.zeros_like(final),
            final_labels=final,
            labels=(Label(1, "green", (0, 255, 0)), Label(2, "red", (255, 0, 0))),
            volumes=("", ""),
        )
        drawn = picture(tmp_path, overview)[..., :3].astype(int)
        boxes = []
        for channel in (1, 0):
            pure = 2 * drawn[..., channel] - drawn.sum(axis=-1) > 60
            outlines = ndimage.find_objects(ndimage.label(pure, np.ones((3, 3)))[0])
            boxes.append(max(outlines, key=lambda box: box[1].stop - box[1].start))
        (green_rows, green_columns), (red_rows, red_columns) = boxes
        assert green_columns.stop < red_columns.start
        assert green_rows.stop < red_rows.start
        sides = [part.stop - part.start for box in boxes for part in box]
        millimetres = np.array([20, 20, 10, 30])
        np.testing.assert_allclose(sides / millimetres / (sides[0] / 20), 1, atol=0.1)

    def test_works_without_any_label_voxel(self, tmp_path: Path) -> None:
        nothing = np.zeros_like(head().source_labels)
        empty = dataclasses.replace(head(), source_labels=nothing, final_labels=nothing)
        assert picture(tmp_path, empty).std() > 20

    def test_never_touches_pyplot(self) -> None:
        script = "import sys, SFDALib.results.overview\nprint('matplotlib.pyplot' in sys.modules)"
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
        assert done.stdout == "False\n"


class TestSlicesThatSayMost:
    def changes(self, *counts: int) -> tuple[np.ndarray, np.ndarray]:
        source = np.zeros((len(counts), 1, 100), int)
        final = source.copy()
        for k, count in enumerate(counts):
            final[k, 0, :count] = 1
        return source, final

    def test_are_those_that_change_most_but_no_neighbours(self) -> None:
        assert slices_that_say_most(*self.changes(0, 1, 9, 8, 0, 3, 0, 0, 2)) == [8, 5, 2]

    def test_are_four_at_most_from_head_to_feet(self) -> None:
        assert slices_that_say_most(*self.changes(*[5, 0] * 6)) == [6, 4, 2, 0]

    def test_spread_over_a_tall_change(self) -> None:
        # 80 changed slices: at least 10 apart
        chosen = slices_that_say_most(*self.changes(*range(20, 100)))
        assert chosen == [79, 69, 59, 49]

    def test_are_the_largest_foreground_where_nothing_changed(self) -> None:
        _, final = self.changes(0, 1, 9, 8, 0, 0)
        assert slices_that_say_most(final, final) == [2]

    def test_are_around_the_middle_where_there_is_nothing(self) -> None:
        assert slices_that_say_most(*self.changes(*[0] * 9)) == [6, 4, 2, 0]
