"""Whether a study's images are what its role needs, before any job starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from . import roles
from .image_files import find_images, read_header, subject_folder, voxel_difference
from .schema import ConfigError

if TYPE_CHECKING:
    from .sections import Config
    from .studies import Study

LISTED = 8  # names in an error message
NAMES = "sub-STUDY_..._rec-PROTOCOL_desc-SAMPLE_pet.nii.gz"


def check_images(config: Config, study: Study, where: str) -> None:
    """Raise ConfigError, starting with `where`, for a study of images that cannot play its role.

    Checked are names, what there is of each protocol, voxel sizes and that patches fit.
    """
    root = study.path or ""
    found = find_images(root, study.study)
    if not found:
        folder = subject_folder(root, study.study)
        raise ConfigError(f"{where}: column path: no image in {folder}; expected {NAMES}")

    reference = config.images.reference or roles.level_name(config.simulation.scan_s)
    if study.role in roles.TRAINED_ON:
        for protocol in roles.protocols(study.role, config):
            _check_pairs(found, protocol, reference, where)
    elif not _tested(found, study.role, config, reference):
        needed = f"a noisy image and its whole scan desc-{reference} of rec-v1 or rec-v2"
        raise ConfigError(f"{where}: expected {needed}, got {_names(found)}")

    for path in found.values():
        _check_grid(path, study, config, where)


def _check_pairs(
    found: Mapping[tuple[str, str], Path], protocol: str, reference: str, where: str
) -> None:
    """A training study has a target and at least one noisy image."""
    samples = [sample for other, sample in found if other == protocol]
    if reference not in samples:
        target = f"the target desc-{reference} (images.reference) of rec-{protocol}"
        raise ConfigError(f"{where}: expected {target}, got {_names(found)}")

    if len(samples) < 2:
        raise ConfigError(f"{where}: expected noisy images beside desc-{reference}, got none")


def _tested(
    found: Mapping[tuple[str, str], Path], role: str, config: Config, reference: str
) -> bool:
    """Whether there is something to measure: of any protocol a noisy image and the whole scan."""
    for protocol in roles.protocols(role, config):
        samples = {sample for other, sample in found if other == protocol}
        if reference in samples and samples - {reference, *roles.HALVES}:
            return True

    return False


def _check_grid(path: Path, study: Study, config: Config, where: str) -> None:
    header = read_header(path)

    difference = voxel_difference(header, config.grid.voxel_mm)
    if difference and not config.images.resample:
        advice = "as grid.voxel_mm says; images.resample: true brings them there"
        raise ConfigError(f"{where}: {path}: {difference}, {advice}")

    patches = {"v1": config.train.patch, "adapt": config.adapt.patch, "online": config.online.patch}
    stage = "adapt" if study.role == roles.ADAPTATION else "v1"
    wanted = patches["online"] if study.role in roles.ONLINE else patches[stage]
    if study.role in roles.TESTS and study.role not in roles.ONLINE:
        return

    across = [
        n * size / new
        for n, size, new in zip(
            header.shape[:2], header.voxel_mm[:2], config.grid.voxel_mm[:2], strict=True
        )
    ]
    if round(min(across)) < wanted:
        raise ConfigError(
            f"{where}: {path}: expected slices of at least {wanted} voxels (patch), "
            f"got {header.shape[0]} x {header.shape[1]}"
        )


def _names(found: Mapping[tuple[str, str], Path]) -> str:
    names = [f"rec-{protocol}_desc-{sample}" for protocol, sample in found]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""

    return ", ".join(names[:LISTED]) + more
