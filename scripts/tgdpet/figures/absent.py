"""Figures that a run with studies of images cannot have, and why.

What a study lacks (a protocol, realisations, halves, organ labels, the injected dose) removes what
needs it and nothing else. Light, as Snakemake's rules ask it.
"""

from __future__ import annotations

from collections.abc import Callable

from ..config import roles
from ..config.paths import RunFiles
from ..io.files import read_json
from ..io.nifti import sidecar_path, suv_factor
from . import drawn

Need = Callable[[RunFiles], str | None]


def absent(run: RunFiles) -> dict[str, str]:
    """Figure -> what it lacks; empty where the workflow makes all images itself."""
    if not any(study.is_images for study in run.studies):
        return {}

    reasons: dict[str, str] = {}
    for name in drawn(run.config):
        lacking = [reason for need in NEEDS.get(name, ()) if (reason := need(run))]
        if lacking:
            reasons[name] = lacking[0]

    return reasons


def shown(run: RunFiles) -> list[str]:
    """The figures of a run: those of its configuration that its studies have all for."""
    missing = absent(run)
    return [name for name in drawn(run.config) if name not in missing]


def unmeasured(run: RunFiles) -> list[str]:
    """A line for each test study of images whose organs are not labelled, and so not measured."""
    lines = []
    for row in run.studies:
        if row.is_images and row.role in roles.TESTS and row.organs is None:
            measures = "liver CoV and bias, and errors at organs, are not measured"
            lines.append(f"study {row.study}: no organ labels (column organs): {measures}")

        if row.is_images and row.role in roles.ONLINE and row.study not in run.online_studies():
            halves = "no halves (half1, half2) of v2 images: no network learns on it"
            lines.append(f"study {row.study}: {halves}")

    return lines


def shown_roles(run: RunFiles) -> list[str]:
    """Of low and high BMI, the roles whose first study has v2 images that can be shown in SUV."""
    pair = (roles.LESION, roles.HIGH_BMI)
    if not any(study.is_images for study in run.studies):
        return list(pair)

    return [role for role in pair if _study(role, "v2", labelled=False)(run) is None]


def _study(
    role: str, *protocols: str, realised: bool = False, labelled: bool = True, suv: bool = True
) -> Need:
    """A study of this role with a whole scan and noisy images of these protocols.

    `realised`: i.i.d. realisations among them; `labelled`: organs; `suv`: dose, weight and times.
    """

    def need(run: RunFiles) -> str | None:
        names = run.studies_of(role)
        if not names:
            return f"no study has the role {role}"

        study = names[0]
        for protocol in protocols:
            samples = run.study_samples(study, protocol)
            noisy = run.noisy_of_study(study, protocol)
            if run.scan not in samples or not noisy:
                return f"study {study} has no {protocol} images (noisy ones and {run.scan})"

            n_realised = sum(bool(roles.REALISATION.fullmatch(name)) for name in noisy)
            if realised and n_realised < 2:
                return f"study {study} has no realisations (real01, real02, ...) of {protocol}"

        row = run.study(study)
        if labelled and row is not None and row.is_images and row.organs is None:
            return f"study {study} has no organ labels (column organs)"

        return _without_suv(run, study) if suv else None

    return need


def _without_suv(run: RunFiles, study: str) -> str | None:
    """Why a study's images cannot be shown in SUV."""
    if not run.comes_as_images(study):
        return None

    protocol = run.protocols_of_study(study)[-1]
    sidecar = sidecar_path(run.image_path(study, protocol, run.scan))
    try:
        suv_factor(read_json(sidecar))
    except (ValueError, OSError) as error:
        return f"study {study}: {error}"

    return None


def _dropped(run: RunFiles) -> str | None:
    """Images for the drop experiment."""
    if run.has_drop_images():
        return None

    protocol = run.protocol_of(run.config.score.network)
    return f"no test study has {protocol} images (a noisy one and {run.scan}) to drop kernels on"


def _online(role: str) -> Need:
    """A study of this role that networks learned on."""

    def need(run: RunFiles) -> str | None:
        if not set(run.studies_of(role)[:1]) & set(run.online_studies()):
            return f"no study of role {role} has both halves"

        return None if run.online() else "no network has data: n2n"

    return need


def _timed(run: RunFiles) -> str | None:
    """Reconstructions whose time is known."""
    as_images = [s.study for s in run.studies if s.role in roles.TRAINED_ON and s.is_images]
    if as_images:
        return f"study {as_images[0]} came as images: the time of its reconstruction is not known"

    return None


def _judged(run: RunFiles) -> str | None:
    """Anything that the paper's findings are about."""
    realised = MEASURED(run)
    return realised if realised and _dropped(run) else None


def _shown(run: RunFiles) -> str | None:
    """A study to show the networks on."""
    if shown_roles(run):
        return None

    lesion = _study(roles.LESION, "v2", labelled=False)(run)
    high_bmi = _study(roles.HIGH_BMI, "v2", labelled=False)(run)
    return f"{lesion}; {high_bmi}"


LESION = _study(roles.LESION, "v2")
LESION_BOTH = _study(roles.LESION, "v1", "v2", realised=True)
REALISED = _study(roles.LESION, "v2", realised=True)
MEASURED = _study(roles.LESION, "v2", realised=True, suv=False)
HIGH_BMI = _study(roles.HIGH_BMI, "v2")
BLADDER = _study(roles.BLADDER, "v2")
CATHETER = _study(roles.CATHETER, "v2")
NEEDS: dict[str, tuple[Need, ...]] = {
    "findings": (_judged,),
    "table1": (MEASURED,),
    "fig3": (LESION_BOTH,),
    "kse": (_dropped,),
    "fig4": (_dropped, LESION),
    "gain": (
        _study(roles.LESION, "v1", "v2", labelled=False, suv=False),
        _study(roles.HIGH_BMI, "v1", "v2", labelled=False, suv=False),
    ),
    "timing": (_timed,),
    "fig5": (_shown,),
    "difference": (REALISED, HIGH_BMI),
    "mip": (LESION,),
    "profiles": (REALISED, BLADDER, _online(roles.BLADDER)),
    "nps": (LESION_BOTH,),
    "noise_gain": (LESION_BOTH,),
    "fig6": (BLADDER, _online(roles.BLADDER)),
    "figS1": (CATHETER, _online(roles.CATHETER)),
}
