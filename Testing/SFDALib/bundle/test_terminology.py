"""What labels are in codes: found by their names, never wrongly, and checked in a bundle."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT

from SFDALib.bundle import open_model, terminology
from SFDALib.bundle.description import Label
from SFDALib.bundle.importers.common import labels
from SFDALib.bundle.terminology import fault, in_words, of_name

TABLE = json.loads(terminology.TABLE.read_text(encoding="utf-8"))
TISSUE = (
    "Segmentation category and type - DICOM master list~SCT^85756007^Tissue~SCT^85756007^Tissue"
    "~^^~Anatomic codes - DICOM master list~^^~^^"
)


# --- The table ---------------------------------------------------------------------------------

VERHOEFF_TURN = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def check_digit_is_right(code: str) -> bool:
    """Verhoeff's: digits are elements of the dihedral group of order 10, turned by their place."""

    def turned(digit: int, times: int) -> int:
        for _ in range(times % 8):
            digit = VERHOEFF_TURN[digit]
        return digit

    def product(a: int, b: int) -> int:
        if a < 5:
            return (a + b) % 5 + 5 * (b >= 5) if b < 5 else (a + b - 5) % 5 + 5
        return (a - 5 - b) % 5 + 5 if b < 5 else (a - b) % 5

    total = 0
    for place, digit in enumerate(reversed(code)):
        total = product(total, turned(int(digit), place))
    return total == 0


def test_the_check_of_a_code_finds_a_wrong_digit_and_two_that_changed_places() -> None:
    assert check_digit_is_right("12738006")  # brain, as the shipped bundle has it
    assert not check_digit_is_right("12738007")
    assert not check_digit_is_right("17238006")


def test_every_code_is_one_of_snomed_ct_for_a_concept_and_stands_once() -> None:
    assert TABLE["scheme"] == "SCT"
    rows = [row for group in TABLE["categories"] for row in (group, *group["types"])]
    codes = [row["code"] for row in rows]
    assert [code for code in codes if not check_digit_is_right(code)] == []
    assert {code[-3:-1] for code in codes} == {"00"}, "the identifier of a concept"
    types = [row["code"] for group in TABLE["categories"] for row in group["types"]]
    assert len(types) == len(set(types)) > 200
    for row in rows:
        assert len(row["code"]) <= 16 and 0 < len(row["meaning"]) <= 64, "what DICOM can hold"
    for side in terminology.SIDES.values():
        assert check_digit_is_right(side.value)


def test_every_name_of_the_table_means_its_own_row() -> None:
    for group in TABLE["categories"]:
        for row in group["types"]:
            for name in (row["meaning"], *row.get("names", ())):
                parts = of_name(name).split("~")
                assert parts[1] == f"SCT^{group['code']}^{group['meaning']}", name
                assert parts[2] == f"SCT^{row['code']}^{row['meaning']}", name
                assert parts[3] == parts[5] == parts[6] == "^^", name


# --- Names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        *((name, "Brain") for name in ("Brain", "brain", "BRAIN", " brain ", "the_brain")),
        *((name, "Kidney, Left") for name in ("left kidney", "kidney_left", "Kidney-Left")),
        *((name, "Kidney, Left") for name in ("LeftKidney", "KidneyL", "Kidney_L", "L kidney")),
        *((name, "Kidney, Right") for name in ("Kidney, right", "kidney.rt", "RT KIDNEYS")),
        *((name, "Kidney") for name in ("kidney", "Kidneys")),
        *((name, "Lung") for name in ("lung", "Lungs")),
        *((name, "Left ventricle of heart") for name in ("LV", "left ventricle", "LV cavity")),
        *((name, "Left ventricle of heart") for name in ("heart_ventricle_left", "lv_blood_pool")),
        *((name, "Right ventricle of heart") for name in ("RV", "Right Ventricle", "rv")),
        *((name, "Myocardium") for name in ("MYO", "myocardium", "heart_myocardium")),
        ("LV myocardium", "Myocardium of left ventricle"),
        *((name, "Left atrium") for name in ("LA", "left_atrium", "heart_atrium_left")),
        *((name, "Neoplasm") for name in ("GTV", "GTVp", "tumor", "Tumour", "Tumors", "cancer")),
        ("Liver_Tumor", "Neoplasm in Liver"),
        ("tumour of the liver", "Neoplasm in Liver"),
        ("liver tumors", "Neoplasm in Liver"),
        ("left kidney outside tumor", "Kidney, Left"),
        ("whole tumor outside tumor core", "Edema"),
        ("colon cancer primaries", "Neoplasm in Colon"),
        ("kidney_cyst_left", "Cyst in Kidney, Left"),
        ("left lung nodule", "Nodule in Lung, Left"),
        ("lung_vessels", "Blood vessel in Lung"),
        ("white matter lesions", "Lesion in White matter"),
        ("MS lesion", "Lesion"),
        *((name, "Neoplasm") for name in ("WT", "TC", "ET", "whole tumor", "Tumor Core")),
        *((name, "Neoplasm") for name in ("enhancing tumor", "non-enhancing tumor core")),
        *((name, "Edema") for name in ("ED", "peritumoral edema", "oedema")),
        *((name, "Necrosis") for name in ("NCR", "necrotic tumor core", "necrosis")),
        *((name, "Brain stem") for name in ("Brain-Stem", "brainstem", "BrainStem")),
        ("Left-Cerebral-White-Matter", "Cerebral white matter, Left"),
        ("left lateral ventricle", "Lateral ventricle, Left"),
        ("3rd-Ventricle", "Third ventricle"),
        ("upper lobe of left lung", "Upper lobe of lung, Left"),
        ("lung_upper_lobe_right", "Upper lobe of lung, Right"),
        ("lung_middle_lobe_right", "Middle lobe of right lung"),
        ("adrenal_gland_right", "Adrenal gland, Right"),
        ("postcava", "Inferior vena cava"),
        *((name, "Gallbladder") for name in ("gallbladder", "gall_bladder", "Gall Bladder")),
        ("urinary_bladder", "Urinary bladder"),
        ("small_bowel", "Small intestine"),
        ("clavicula_left", "Clavicle, Left"),
        ("iliac_vena_left", "Common iliac vein, Left"),
        ("rib_left_4", "Rib, Left"),
        ("vertebrae_L1", "L1 vertebra"),
        ("gluteus_maximus_left", "Muscle, Left"),
        ("atrial_appendage_left", "Left auricular appendage"),
        ("coronary_arteries", "Coronary artery"),
        ("Lens_R", "Lens of eye, Right"),
        ("SpinalCord", "Spinal cord"),
        ("grey matter", "Gray matter"),
    ],
)
def test_a_name_is_found_however_it_is_written(name: str, meaning: str) -> None:
    assert in_words(of_name(name)) == meaning


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "1", "class 1", "Structure 1", "label_2", "foreground", "background", "other"),
        *(
            "Ventricle",
            "Ventricles",
            "atrium",
            "cortex",
            "sinus",
            "lobe",
            "nucleus",
            "head",
            "neck",
        ),
        *("left", "right", "L", "body", "tail", "cup", "disc", "peripheral zone", "Anterior"),
        *("left brain", "liver left", "left heart", "left colon", "left prostate lesion"),
        *("liver+tumor", "liver/tumor", "liver & tumor", "liver, tumor", "liver and tumor"),
        *("prostate/uterus", "prostate or uterus", "left/right kidney", "left and right kidney"),
        *("healthy liver", "no tumor", "not brain", "non-liver", "liver?", "brain (excluded)"),
        *("LV mass", "muscle mass", "kidney mass", "L1", "T1", "T2", "C5", "left left kidney"),
        *("liver segment 4", "kidneystone", "brainy", "delivery", "livers of two", "skin tumor"),
        *("outside", "tumor outside necrosis", "kidney and tumor outside tumor", "outside liver"),
        *("tumor edema", "brain tumor edema", "tumor brain liver", "l i v e", "a b c d e f g h i"),
    ],
)
def test_a_name_that_says_nothing_certain_is_tissue(name: str) -> None:
    assert of_name(name) == TISSUE


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(["left", "l", "kidney", "tumor", "of", "-", "lung", "lesions", "+", "1"])
    ).map(" ".join)
)
@settings(max_examples=300, deadline=None)
def test_whatever_the_name_slicer_can_export_it(name: str) -> None:
    assert fault(of_name(name)) is None


def test_a_side_is_stated_for_what_has_two_and_only_then() -> None:
    for group in TABLE["categories"]:
        for row in group["types"]:
            found = of_name(f"left {row['meaning']}").split("~")
            if found[2].split("^")[1] == row["code"]:
                assert row.get("sides", False) == (found[3] == "SCT^7771000^Left"), row


# --- Labels, bundles ---------------------------------------------------------------------------


def test_every_label_has_a_terminology_stated_or_found() -> None:
    assert Label(1, "Spleen", (1, 2, 3)).terminology == of_name("spleen")
    assert Label(1, "Spleen", (1, 2, 3), TISSUE).terminology == TISSUE
    assert [label.terminology for label in labels(["liver", "what?"])] == [of_name("Liver"), TISSUE]


BRAIN = of_name("brain")


@pytest.mark.parametrize(
    "entry",
    [
        "Brain",
        BRAIN.replace("~", "|"),
        BRAIN + "|Tag:value",
        BRAIN + "~",
        BRAIN.replace("SCT^12738006^Brain", "^^"),
        BRAIN.replace("SCT^12738006^Brain", "SCT^12738006^"),
        BRAIN.replace("SCT^12738006^Brain", "SCT^12738006"),
        BRAIN.replace("SCT^123037004^Anatomical Structure", "^^"),
        BRAIN.replace("~^^~Anatomic", "~SCT^7771000^~Anatomic"),
        BRAIN.replace("Brain", "B" * 65),
        BRAIN.replace("Brain", "Großhirn"),
        BRAIN.replace("Brain", "a\\b"),
        BRAIN.replace("12738006", "1" * 17),
    ],
)
def test_a_terminology_that_cannot_be_exported_is_told(entry: str) -> None:
    assert fault(BRAIN) is None
    assert fault(entry)


def test_the_shipped_bundle_says_that_it_segments_the_brain() -> None:
    bundle = ROOT / "SFDASegmenter" / "Resources" / "Samples" / "brain-t1w"
    (label,) = open_model.open_model(bundle).describe().labels
    assert fault(label.terminology) is None
    assert label.terminology.split("~")[1:3] == of_name("brain").split("~")[1:3]
