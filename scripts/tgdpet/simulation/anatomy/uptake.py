"""What labelled tissue is worth in an FDG scan: organ names, uptake, attenuation at 511 keV.

Names are TotalSegmentator's (Wasserthal et al. 2023), v2 task "total", with those of v1 and of its
body, tissue and lung tasks. Uptake is SUV (body weight) 60 min after injection: rounded means of
normal organs within the ranges of Wang et al. 2007 (Mol Imaging Biol 9:83) and Ramos et al. 2001
(Eur J Nucl Med 28:155), bladder and bowel as in `phantom`. `spread` is the relative standard
deviation between studies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

SOFT, LUNG, FAT, BONE = (
    0.096,
    0.028,
    0.090,
    0.120,
)  # 1/cm at 511 keV, where there is no CT (NIST XCOM)
SIDE = re.compile(r"_(left|right)(_\d+)?$|_[CTLS]\d+$")
GAS_HU, FAT_HU = -500.0, -30.0  # below: gas, which takes up nothing; fat among unlabelled tissue


@dataclass(frozen=True)
class Tissue:
    """Label of `phantom.ORGANS`, SUV, its relative spread between studies, attenuation without a CT
    in 1/cm.
    """

    label: str
    suv: float
    spread: float
    mu_per_cm: float = SOFT


# Several names share a row, and vary together; a name's side and number are left out (`stem`).
_MUSCLE = "body body_trunc body_extremities skeletal_muscle autochthon iliopsoas"
_GLUTEUS = "gluteus_maximus gluteus_medius gluteus_minimus"
_BLOOD = (
    "heart_atrium heart_ventricle atrial_appendage aorta pulmonary_artery pulmonary_vein brachiocephalic_trunk"
    " subclavian_artery common_carotid_artery brachiocephalic_vein superior_vena_cava inferior_vena_cava"
    " portal_vein_and_splenic_vein iliac_artery iliac_vena"
)
_ROWS = (
    (f"{_MUSCLE} {_GLUTEUS}", Tissue("body", 0.6, 0.10)),
    (_BLOOD, Tissue("body", 1.6, 0.10)),
    ("skin spinal_cord kidney_cyst gallbladder", Tissue("body", 0.8, 0.15)),
    ("subcutaneous_fat torso_fat", Tissue("fat", 0.25, 0.10, FAT)),
    ("lung lung_upper_lobe lung_middle_lobe lung_lower_lobe", Tissue("lung", 0.45, 0.12, LUNG)),
    ("trachea lung_trachea_bronchia", Tissue("lung", 0.2, 0.10, 0.0)),
    ("heart heart_myocardium", Tissue("heart", 2.6, 0.25)),
    ("liver", Tissue("liver", 2.2, 0.10)),
    ("spleen", Tissue("spleen", 1.8, 0.12)),
    ("kidney", Tissue("kidney", 2.6, 0.30)),
    ("stomach", Tissue("bowel", 1.3, 0.25)),
    ("duodenum small_bowel colon esophagus", Tissue("bowel", 1.1, 0.30)),
    ("pancreas adrenal_gland", Tissue("body", 1.5, 0.15)),
    ("prostate uterus", Tissue("body", 1.5, 0.20)),
    ("thyroid_gland", Tissue("body", 1.3, 0.20)),
    ("brain", Tissue("body", 7.0, 0.15)),
    ("face", Tissue("body", 1.0, 0.15)),
    ("urinary_bladder", Tissue("bladder", 9.0, 0.30)),
    ("sacrum vertebrae", Tissue("marrow", 1.3, 0.15, BONE)),
    ("hip sternum scapula clavicula", Tissue("marrow", 0.9, 0.15, BONE)),
    ("femur humerus rib skull", Tissue("marrow", 0.6, 0.15, BONE)),
    ("costal_cartilages", Tissue("body", 0.5, 0.15, 0.105)),
)
TISSUES = {name: tissue for names, tissue in _ROWS for name in names.split()}


def _total_v2() -> dict[int, str]:
    pair = "{0}_left {0}_right".format
    text = " ".join([
        "spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left",
        "lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right",
        "esophagus trachea thyroid_gland small_bowel duodenum colon urinary_bladder prostate kidney_cyst_left",
        "kidney_cyst_right sacrum vertebrae_S1", *(f"vertebrae_L{i}" for i in range(5, 0, -1)),
        *(f"vertebrae_T{i}" for i in range(12, 0, -1)), *(f"vertebrae_C{i}" for i in range(7, 0, -1)),
        "heart aorta pulmonary_vein brachiocephalic_trunk subclavian_artery_right subclavian_artery_left",
        "common_carotid_artery_right common_carotid_artery_left brachiocephalic_vein_left brachiocephalic_vein_right",
        "atrial_appendage_left superior_vena_cava inferior_vena_cava portal_vein_and_splenic_vein",
        *map(pair, ("iliac_artery", "iliac_vena", "humerus", "scapula", "clavicula", "femur", "hip")), "spinal_cord",
        *map(pair, ("gluteus_maximus", "gluteus_medius", "gluteus_minimus", "autochthon", "iliopsoas")), "brain skull",
        *(f"rib_{side}_{i}" for side in ("left", "right") for i in range(1, 13)), "sternum costal_cartilages",
    ])  # fmt: skip
    return dict(enumerate(text.split(), start=1))


TOTAL_V2 = _total_v2()  # class number: name


def stem(name: str) -> str:
    """A structure's name without side and number: kidney_left is kidney, rib_left_3 rib,
    vertebrae_L1 vertebrae.
    """
    return SIDE.sub("", name)


def draw_suv(rng: np.random.Generator) -> dict[str, float]:
    """SUV of every tissue in one study, by stem; the same numbers are drawn whatever the labels
    hold.
    """
    out = {}
    for names, tissue in _ROWS:
        factor = 1 + tissue.spread * float(np.clip(rng.normal(), -2.5, 2.5))
        out.update(dict.fromkeys(names.split(), tissue.suv * factor))
    return out


def mu_of_hu(hu: np.ndarray) -> np.ndarray:
    """Attenuation at 511 keV, 1/cm, of CT numbers at 120 kVp (any shape), at least 0, float32.

    Bilinear scaling of Carney, Townsend, Rappoport and Bendriem 2006 (Med Phys 33:976, table for
    120 kVp):
    9.6e-5 (HU + 1000) below 47 HU, 5.10e-5 (HU + 1000) + 4.71e-2 above.
    """
    from_air = np.maximum(np.asarray(hu, np.float32) + 1000, 0)
    return np.where(from_air < 1047, 9.6e-5 * from_air, 5.10e-5 * from_air + 4.71e-2).astype(
        np.float32
    )
