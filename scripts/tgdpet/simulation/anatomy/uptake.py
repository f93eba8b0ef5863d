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

from ...config.studies import LABEL_TABLES

# 1/cm at 511 keV, where there is no CT (NIST XCOM)
SOFT = 0.096
LUNG = 0.028
FAT = 0.090
BONE = 0.120
# HU, medians over a structure
LUNG_HU = (-950.0, -500.0)
AIRWAY_HU = (-1000.0, -600.0)
FAT_TISSUE_HU = (-150.0, -30.0)
ORGAN_HU = (-60.0, 300.0)
FATTY_HU = (-120.0, 300.0)  # muscles and glands that fat can replace
ENHANCED_HU = (-60.0, 1000.0)  # blood, and where contrast agent is excreted
BONE_HU = (30.0, 1500.0)
SIDE = re.compile(r"_(left|right)(_\d+)?$|_[CTLS]\d+$")
GAS_HU = -500.0  # below: gas, which takes up nothing
FAT_HU = -30.0  # below: fat among unlabelled tissue


@dataclass(frozen=True)
class Tissue:
    """Label of `constants.ORGANS`, SUV, its relative spread between studies, attenuation without a
    CT, lowest and highest median in a CT (None: any).
    """

    label: str
    suv: float
    spread: float
    mu_per_cm: float = SOFT
    hu: tuple[float, float] | None = ORGAN_HU


# Several names share a row, and vary together; a name's side and number are left out (`stem`).
_MUSCLE = "body body_trunc body_extremities skeletal_muscle autochthon iliopsoas"
_GLUTEUS = "gluteus_maximus gluteus_medius gluteus_minimus"
_BLOOD = (
    "heart_atrium heart_ventricle atrial_appendage aorta pulmonary_artery pulmonary_vein"
    " brachiocephalic_trunk subclavian_artery common_carotid_artery brachiocephalic_vein"
    " superior_vena_cava inferior_vena_cava portal_vein_and_splenic_vein iliac_artery iliac_vena"
)
_LUNG = "lung lung_upper_lobe lung_middle_lobe lung_lower_lobe"
_ROWS = (
    (f"{_MUSCLE} {_GLUTEUS}", Tissue("body", 0.6, 0.10, hu=FATTY_HU)),
    (_BLOOD, Tissue("body", 1.6, 0.10, hu=ENHANCED_HU)),
    ("skin spinal_cord kidney_cyst gallbladder", Tissue("body", 0.8, 0.15, hu=ENHANCED_HU)),
    ("subcutaneous_fat torso_fat", Tissue("fat", 0.25, 0.10, FAT, FAT_TISSUE_HU)),
    (
        "lung lung_upper_lobe lung_middle_lobe lung_lower_lobe",
        Tissue("lung", 0.45, 0.12, LUNG, LUNG_HU),
    ),
    ("trachea lung_trachea_bronchia", Tissue("lung", 0.2, 0.10, 0.0, AIRWAY_HU)),
    ("heart heart_myocardium", Tissue("heart", 2.6, 0.25, hu=ENHANCED_HU)),
    ("liver", Tissue("liver", 2.2, 0.10)),
    ("spleen", Tissue("spleen", 1.8, 0.12)),
    ("kidney", Tissue("kidney", 2.6, 0.30, hu=ENHANCED_HU)),
    ("stomach", Tissue("bowel", 1.3, 0.25, hu=None)),
    ("duodenum small_bowel colon esophagus", Tissue("bowel", 1.1, 0.30, hu=None)),
    ("pancreas adrenal_gland", Tissue("body", 1.5, 0.15, hu=FATTY_HU)),
    ("prostate uterus", Tissue("body", 1.5, 0.20, hu=ENHANCED_HU)),
    ("thyroid_gland", Tissue("body", 1.3, 0.20, hu=ENHANCED_HU)),
    ("brain", Tissue("body", 7.0, 0.15)),
    ("face", Tissue("body", 1.0, 0.15, hu=None)),
    ("urinary_bladder", Tissue("bladder", 9.0, 0.30, hu=ENHANCED_HU)),
    ("sacrum vertebrae", Tissue("marrow", 1.3, 0.15, BONE, BONE_HU)),
    ("hip sternum scapula clavicula", Tissue("marrow", 0.9, 0.15, BONE, BONE_HU)),
    ("femur humerus rib skull", Tissue("marrow", 0.6, 0.15, BONE, BONE_HU)),
    ("costal_cartilages", Tissue("body", 0.5, 0.15, 0.105, hu=BONE_HU)),
)
TISSUES = {name: tissue for names, tissue in _ROWS for name in names.split()}


# TotalSegmentator's classes of v2, task "total", from 1
_TOTAL_V2_NAMES = (
    "spleen kidney_right kidney_left gallbladder liver stomach pancreas"
    " adrenal_gland_right adrenal_gland_left"
    " lung_upper_lobe_left lung_lower_lobe_left"
    " lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right"
    " esophagus trachea thyroid_gland small_bowel duodenum colon urinary_bladder prostate"
    " kidney_cyst_left kidney_cyst_right sacrum vertebrae_S1"
    " vertebrae_L5 vertebrae_L4 vertebrae_L3 vertebrae_L2 vertebrae_L1"
    " vertebrae_T12 vertebrae_T11 vertebrae_T10 vertebrae_T9 vertebrae_T8 vertebrae_T7"
    " vertebrae_T6 vertebrae_T5 vertebrae_T4 vertebrae_T3 vertebrae_T2 vertebrae_T1"
    " vertebrae_C7 vertebrae_C6 vertebrae_C5 vertebrae_C4 vertebrae_C3 vertebrae_C2 vertebrae_C1"
    " heart aorta pulmonary_vein brachiocephalic_trunk"
    " subclavian_artery_right subclavian_artery_left"
    " common_carotid_artery_right common_carotid_artery_left"
    " brachiocephalic_vein_left brachiocephalic_vein_right atrial_appendage_left"
    " superior_vena_cava inferior_vena_cava portal_vein_and_splenic_vein"
    " iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right"
    " humerus_left humerus_right scapula_left scapula_right clavicula_left clavicula_right"
    " femur_left femur_right hip_left hip_right spinal_cord"
    " gluteus_maximus_left gluteus_maximus_right gluteus_medius_left gluteus_medius_right"
    " gluteus_minimus_left gluteus_minimus_right autochthon_left autochthon_right"
    " iliopsoas_left iliopsoas_right brain skull"
    " rib_left_1 rib_left_2 rib_left_3 rib_left_4 rib_left_5 rib_left_6"
    " rib_left_7 rib_left_8 rib_left_9 rib_left_10 rib_left_11 rib_left_12"
    " rib_right_1 rib_right_2 rib_right_3 rib_right_4 rib_right_5 rib_right_6"
    " rib_right_7 rib_right_8 rib_right_9 rib_right_10 rib_right_11 rib_right_12"
    " sternum costal_cartilages"
)
TOTAL_V2 = dict(enumerate(_TOTAL_V2_NAMES.split(), start=1))  # class number: name

# those of v1
_TOTAL_V1_NAMES = (
    "spleen kidney_right kidney_left gallbladder liver stomach"
    " aorta inferior_vena_cava portal_vein_and_splenic_vein pancreas"
    " adrenal_gland_right adrenal_gland_left"
    " lung_upper_lobe_left lung_lower_lobe_left"
    " lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right"
    " vertebrae_L5 vertebrae_L4 vertebrae_L3 vertebrae_L2 vertebrae_L1"
    " vertebrae_T12 vertebrae_T11 vertebrae_T10 vertebrae_T9 vertebrae_T8 vertebrae_T7"
    " vertebrae_T6 vertebrae_T5 vertebrae_T4 vertebrae_T3 vertebrae_T2 vertebrae_T1"
    " vertebrae_C7 vertebrae_C6 vertebrae_C5 vertebrae_C4 vertebrae_C3 vertebrae_C2 vertebrae_C1"
    " esophagus trachea heart_myocardium heart_atrium_left heart_ventricle_left"
    " heart_atrium_right heart_ventricle_right pulmonary_artery brain"
    " iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right"
    " small_bowel duodenum colon"
    " rib_left_1 rib_left_2 rib_left_3 rib_left_4 rib_left_5 rib_left_6"
    " rib_left_7 rib_left_8 rib_left_9 rib_left_10 rib_left_11 rib_left_12"
    " rib_right_1 rib_right_2 rib_right_3 rib_right_4 rib_right_5 rib_right_6"
    " rib_right_7 rib_right_8 rib_right_9 rib_right_10 rib_right_11 rib_right_12"
    " humerus_left humerus_right scapula_left scapula_right clavicula_left clavicula_right"
    " femur_left femur_right hip_left hip_right sacrum face"
    " gluteus_maximus_left gluteus_maximus_right gluteus_medius_left gluteus_medius_right"
    " gluteus_minimus_left gluteus_minimus_right autochthon_left autochthon_right"
    " iliopsoas_left iliopsoas_right urinary_bladder"
)
TOTAL_V1 = dict(enumerate(_TOTAL_V1_NAMES.split(), start=1))
TABLES = dict(zip(LABEL_TABLES, (TOTAL_V1, TOTAL_V2), strict=True))


def stem(name: str) -> str:
    """A structure's name without side and number: kidney_left is kidney, rib_left_3 rib,
    vertebrae_L1 vertebrae.
    """
    return SIDE.sub("", name)


def draw_suv(rng: np.random.Generator) -> dict[str, float]:
    """SUV of every tissue in one study, by stem; the same numbers are drawn whatever the labels
    hold.
    """
    suv_of = {}

    for names, tissue in _ROWS:
        deviation = float(np.clip(rng.normal(), -2.5, 2.5))
        suv = tissue.suv * (1 + tissue.spread * deviation)
        suv_of.update(dict.fromkeys(names.split(), suv))

    return suv_of


def mu_of_hu(hu: np.ndarray) -> np.ndarray:
    """Attenuation at 511 keV, 1/cm, of CT numbers at 120 kVp (any shape), at least 0, float32.

    Bilinear scaling of Carney, Townsend, Rappoport and Bendriem 2006 (Med Phys 33:976, table for
    120 kVp): 9.6e-5 (HU + 1000) below 47 HU, 5.10e-5 (HU + 1000) + 4.71e-2 above.
    """
    from_air = np.maximum(np.asarray(hu, np.float32) + 1000, 0)
    water = 9.6e-5 * from_air
    bone = 5.10e-5 * from_air + 4.71e-2

    return np.where(from_air < 1047, water, bone).astype(np.float32)
