"""Every reader of files from elsewhere: a whole file for it, how it is read, what is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch

from tgdpet.config import studies, sweep, yaml_files
from tgdpet.config.loading import load_config
from tgdpet.dataset.index import INDEX_KINDS, read_index
from tgdpet.evaluation import estimates, findings, phi, results, timing, voi_values
from tgdpet.evaluation.seed_runs import read_table
from tgdpet.io import arrays, files, nifti, provenance
from tgdpet.io.contents import CellKind, Number, Text, Truth
from tgdpet.listmode import study_folder
from tgdpet.listmode.events import EVENT, write_events
from tgdpet.networks import score_table, weights
from tgdpet.networks.dncnn import DnCNN
from tgdpet.scanner import cylinder
from tgdpet.simulation.anatomy import segmentation
from tgdpet.training.checkpoint import load_checkpoint, save_checkpoint

Read = Callable[[Path], Any]


@dataclass(frozen=True)
class Reader:
    """`write` makes a whole file, `read` reads it; `is_digested`: a changed one is never read as
    something else; `inside_gzip`: what is compressed is damaged, and not the archive.
    """

    name: str
    file: str
    write: Callable[[Path], None]
    read: Read
    is_digested: bool = False
    inside_gzip: bool = False


def _without_digest(reader: Reader, strip: Callable[[Path], None]) -> Reader:
    """The same file as an older version wrote it, whose content nothing but the checks keeps."""

    def write(path: Path) -> None:
        reader.write(path)
        strip(path)

    name = f"{reader.name}, no digest"
    return Reader(name, reader.file, write, reader.read, inside_gzip=reader.inside_gzip)


def _strip_json(path: Path) -> None:
    content = files.read_json(path)
    content.pop("digest")
    files.write_json(path, content)


def _strip_npy(path: Path) -> None:
    np.save(path, np.load(path))


def _strip_npz(path: Path) -> None:
    np.savez(path, **arrays.read_arrays(path, "npz file"))  # type: ignore[arg-type]


def _strip_tensors(path: Path) -> None:
    import json

    tensors, metadata = weights.read_tensors(path)
    ((key, text),) = metadata.items()
    content = json.loads(text)
    content.pop("digest")
    weights.write_tensors(path, tensors, {key: json.dumps(content)})


# Tables: three rows of each column's kind.


def _examples(kind: CellKind, column: str) -> list[object]:
    if isinstance(kind, Truth):
        return [True, False, True]

    if isinstance(kind, Text):
        return [kind.choices[0]] * 3 if kind.choices else [f"{column[0]}{n}" for n in range(3)]

    low = max(kind.low, kind.above + 1, 0)
    high = min(kind.high, low + 2)
    values = np.linspace(low, high, 3)
    return [int(v) for v in values] if kind.whole else [float(v) for v in values]


def _table(
    name: str, file: str, kinds: Mapping[str, CellKind], read: Read, **fixed: list[object]
) -> Reader:
    columns = {column: _examples(kind, column) for column, kind in kinds.items()}
    table = pd.DataFrame({**columns, **fixed})
    return Reader(name, file, lambda path: files.write_csv(path, table), read)


MODULE = {"module": ["blocks.0.conv"] * 3, "channel": [0, 1, 2]}
TABLES = [
    _table("index.tsv", "index.tsv", INDEX_KINDS, read_index),
    _table(
        "metrics.csv",
        "metrics.csv",
        results.METRICS,
        lambda p: read_table(p, results.METRICS),
    ),
    _table(
        "estimates.csv",
        "estimates.csv",
        estimates.ESTIMATES,
        estimates.read_table1,
        measure=["lesion_bias", "liver_cov", "gain"],
    ),
    _table("findings.csv", "findings.csv", findings.FINDINGS, findings.read_findings),
    _table(
        "gain.csv",
        "gain.csv",
        findings.TASK_ERRORS,
        lambda p: read_table(p, findings.TASK_ERRORS),
    ),
    _table(
        "sweep.csv",
        "sweep.csv",
        sweep.MEASURED_KINDS,
        lambda p: phi.choose([phi.read_sweep(p)], 1),
        phi=[0.0, 0.3, float("inf")],
        old_loss=[1.0, 1.1, 1.2],
        new_loss=[2.0, 1.5, 1.0],
        kernels_total=[9, 9, 9],
        parameters_total=[9, 9, 9],
    ),
    _table(
        "phi.csv",
        "phi.csv",
        sweep.CHOICE_KINDS,
        phi.read_choice,
        recommended=["no", "yes", "no"],
    ),
    _table("drop.csv", "drop.csv", score_table.DROPPED, score_table.read_dropped),
    _table("scores.csv", "scores.csv", score_table.SCORES, score_table.read_scores, **MODULE),
    _table("log.csv", "log.csv", timing.LOG, timing.read_log),
    _table("benchmark.tsv", "b.tsv", timing.BENCHMARK, timing._benchmark),
    _table(
        "labels.tsv",
        "labels.tsv",
        {"index": Number(whole=True), "name": Text()},
        segmentation._table,
    ),
]


# JSON.


def _meta() -> dict[str, Any]:
    return {
        "study": "s",
        "events": 40,
        "scan_s": 5.0,
        "effective_s": 4.9,
        "grid": {"shape": [6, 6, 4], "voxel_mm": [20.0, 20.0, 10.0]},
        "background": {
            "scatter_bq": 1e5,
            "scatter_centre_mm": [1.0, 2.0, 3.0],
            "scatter_sigma_mm": [50.0, 40.0, 30.0],
            "randoms_per_s": 1e-3,
        },
        "injected_mbq": 250.0,
        "weight_kg": 70.0,
        "scan_start_s": 3600.0,
        "half_life_s": 6586.2,
        "petsird": {"model": "x"},
    }


TINY = cylinder.Scanner(100.0, 16, 4, 10.0, 2, 280.0, 140.0, 0.5, 60.0)
GRID_AFFINE = nifti.grid_affine((6, 6, 4), (20.0, 20.0, 10.0))


def _events() -> np.ndarray:
    events = np.zeros(40, EVENT)
    events["det0"] = np.arange(40) % 16
    events["det1"] = 20
    return events


def _study(path: Path, changed: str) -> None:
    """A study's folder around the one file that will be damaged."""
    folder = path.parent
    if not (folder / "mu.nii.gz").exists():
        nifti.write_plain(folder / "mu.nii.gz", np.zeros((6, 6, 4)), GRID_AFFINE)
    for name, write in {
        "listmode.json": lambda p: files.write_checked_json(p, _meta()),
        "scanner.json": lambda p: cylinder.write_scanner(p, TINY),
        "events.npy": lambda p: write_events(p, [_events()]),
    }.items():
        if name == changed or not (folder / name).exists():
            write(folder / name)


def _read_study(path: Path) -> Any:
    study = study_folder.read_study(path.parent)
    sidecar = study_folder.image_sidecar(study.meta, study.meta["scan_s"], {})
    return (study.meta, study.grid, study.scanner, study.events.tobytes(), sidecar)


def _of_study(name: str) -> Reader:
    return Reader(name, name, lambda path: _study(path, name), _read_study, is_digested=True)


def _write_samples(path: Path) -> None:
    samples = [study_folder.Sample("30s", 0.05), study_folder.Sample("real1", 1.0, 0, 10)]
    study_folder.write_samples(path, "s", 1, samples, {"30s": 3, "real1": 4})


def _write_sidecar(path: Path) -> None:
    nifti.write_image(path.with_suffix(".nii"), np.ones((2, 2, 2)), np.eye(4), {"ScanStart": 0})


def _read_sidecar(path: Path) -> Any:
    image = nifti.read_converted(path.with_suffix(".nii"))
    return image.data.tobytes()


def _write_record(path: Path) -> None:
    origin = {"inputs": {"gone": "xxh3-128:" + 32 * "0"}, "finished": "now", "software": {}}
    files.write_json(path, {"outputs": {"a": "b"}, "provenance": origin})


SAMPLES = Reader(
    "samples.json", "samples.json", _write_samples, study_folder.read_samples, is_digested=True
)
JSON = [
    SAMPLES,
    _without_digest(SAMPLES, _strip_json),
    *(_of_study(name) for name in ("listmode.json", "scanner.json")),
    *(_without_digest(_of_study(n), _strip_json) for n in ("listmode.json", "scanner.json")),
    Reader("sidecar", "a.json", _write_sidecar, _read_sidecar),
    Reader("record", "r.json", _write_record, lambda path: list(provenance.tree(path))),
]


# YAML and the table of studies.


def _write_config(path: Path) -> None:
    root = Path(__file__).parents[2]
    path.write_text((root / "config/config.yaml").read_text(), encoding="utf-8")


def _write_studies(path: Path) -> None:
    rows = ["study\trole\tsource\tbmi\tseed\tpath\tlesions", "a\tadapt\tanalytic\t22\t1\t\t"]
    path.write_text("\n".join([*rows, 'b\tadapt\tanatomy\t30\t2\tx\t"liver:20:3,lung:9:2"\n']))


TEXTS = [
    Reader(
        "configuration",
        "c.yaml",
        _write_config,
        lambda path: load_config(yaml_files.read_yaml(path) or {}, str(path)),
    ),
    Reader("studies.tsv", "studies.tsv", _write_studies, studies.read_studies),
]


# Arrays, networks, images.


def _write_voi(path: Path) -> None:
    network = voi_values.NetworkValues(
        np.ones((2, 3), np.float32), np.ones(2), {"rmse": np.ones(2)}
    )
    protocol = voi_values.ProtocolValues(
        ("real1", "real2"), np.ones(3, np.float32), 2.0, {"input": network, "v1-net": network}
    )
    voi_values.write_voi_values(path, voi_values.StudyValues("s", "adapt", {"v1": protocol}))


def _read_voi(path: Path) -> Any:
    values = voi_values.read_voi_values(path)
    return {name: list(p.networks) for name, p in values.protocols.items()}


def _write_network(path: Path) -> None:
    model = DnCNN(0.0625, torch.Generator().manual_seed(0))
    weights.save(path, model, weights.Card("net", 0.0625, 4321.0, ["base"], {"blocks.0.conv": [1]}))


def _read_network(path: Path) -> Any:
    model, card = weights.load(path)
    weights.masks(model, card)
    return (card, [tensor.numpy().tobytes() for tensor in model.state_dict().values()])


def _trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Conv2d(1, 2, 3)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.step()
    return model, optimizer


def _write_checkpoint(path: Path) -> None:
    state = {"step": 3, "total": 1.0, "count": 1, "seconds": 2.0, "rows": [{"loss": 1.0}]}
    torch.manual_seed(0)
    save_checkpoint(path, "same", *_trained(), state)


def _read_checkpoint(path: Path) -> Any:
    torch.manual_seed(0)
    state = load_checkpoint(path, "same", *_trained())
    if state is None:
        raise ValueError(f"{path}: left aside")
    return state


def _write_image(path: Path, kind: type = nib.Nifti1Image) -> None:
    nib.save(kind(np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.eye(4)), path)


def _array(name: str, file: str) -> Reader:
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    return Reader(
        name,
        file,
        lambda path: arrays.write_array(path, values),
        lambda path: arrays.map_array(path, "array").tobytes(),
        is_digested=True,
    )


def _digested(reader: Reader, strip: Callable[[Path], None]) -> list[Reader]:
    return [reader, _without_digest(reader, strip)]


VOI = Reader("X_voi.npz", "a_voi.npz", _write_voi, _read_voi, is_digested=True)
NETWORK = Reader("network", "a.safetensors", _write_network, _read_network, is_digested=True)
CHECKPOINT = Reader("checkpoint", "a.ckpt", _write_checkpoint, _read_checkpoint, is_digested=True)
BINARY = [
    *_digested(_of_study("events.npy"), _strip_npy),
    *_digested(_array("array", "additive.npy"), _strip_npy),
    *_digested(VOI, _strip_npz),
    *_digested(NETWORK, _strip_tensors),
    *_digested(CHECKPOINT, _strip_tensors),
    Reader("image .nii", "a.nii", _write_image, nifti.read_plain),
    Reader("image .nii.gz", "a.nii.gz", _write_image, nifti.read_plain),
    Reader("image, inside .gz", "a.nii.gz", _write_image, nifti.read_plain, inside_gzip=True),
    Reader(
        "NIfTI-2",
        "a.nii",
        lambda path: _write_image(path, nib.Nifti2Image),
        nifti.read_labels,
    ),
]
READERS = {reader.name: reader for reader in [*TABLES, *JSON, *TEXTS, *BINARY]}
