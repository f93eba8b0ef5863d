"""Scanners given by tables: weights, rings, randoms, and their files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tgdpet.io.files import read_checked_json, write_checked_json
from tgdpet.petsird.coincidence import Coincidence
from tgdpet.scanner import cylinder, tabulated


def ring(modules=6, elements=4, rings=3, windows=1):
    """A scanner of random efficiencies: modules around the axis, none paired with neighbours.

    Pairs of modules of one distance share a group.
    """
    rng = np.random.default_rng(0)
    crystals = modules * elements
    n = crystals * rings

    angle = 2 * np.pi * np.arange(crystals) / crystals
    x = 100 * np.cos(angle)
    y = 100 * np.sin(angle)
    z = 5.0 * (np.arange(rings) - (rings - 1) / 2)
    position_mm = np.column_stack([np.tile(x, rings), np.tile(y, rings), np.repeat(z, crystals)])

    # ids run through modules, as PETSIRD's do
    crystal = np.tile(np.arange(crystals), rings)
    module = crystal // elements
    element = crystal % elements * rings + np.repeat(np.arange(rings), crystals)
    order = np.lexsort((element, module))

    # groups by the distance of modules around the axis
    gap = np.abs(np.subtract.outer(np.arange(modules), np.arange(modules)))
    gap = np.minimum(gap, modules - gap)
    size = elements * rings
    groups = modules // 2 - 1

    efficiency = rng.uniform(0.5, 1.5, n).astype(np.float32)
    pair_efficiency = rng.uniform(0.1, 1, groups * size**2).astype(np.float32)
    pair_efficiency *= rng.random(groups * size**2) > 0.3

    return tabulated.TableScanner(
        name="ring",
        axial_shift_mm=3.5,
        tof_sigma_mm=20.0,
        tof_bin_mm=10.0,
        tof_bins=8,
        calibration=2.5,
        one_window=windows == 1,
        position_mm=position_mm[order].astype(np.float32),
        module=module[order].astype(np.int32),
        place=element[order].astype(np.int32),
        efficiency=efficiency,
        group=np.where(gap >= 2, gap - 2, -1).astype(np.int32),
        group_start=np.arange(groups) * size**2,
        group_stride=np.tile([size, 1], (groups, 1)),
        pair_efficiency=pair_efficiency,
    )


def every_pair(device):
    every = np.arange(device.n_detectors)
    i, j = np.meshgrid(every, every, indexing="ij")

    return i.ravel(), j.ravel()


def test_weights_are_the_product_of_their_parts():
    device = ring()

    for i, j in [(71, 0), (0, 71), (40, 3), (12, 11), (30, 30)]:
        a = max(i, j)
        b = min(i, j)
        g = device.group[device.module[a], device.module[b]]

        expected = 0.0

        if g >= 0:
            index = device.group_start[g] + 12 * device.place[a] + device.place[b]
            pair = float(device.pair_efficiency[index])
            expected = 2.5 * float(device.efficiency[a]) * float(device.efficiency[b]) * pair

        weight = device.lor_weights(np.array([i]), np.array([j]))[0]
        assert weight == pytest.approx(expected, rel=1e-12)


def test_weights_are_symmetric_and_packed_tables_agree():
    device = ring()
    efficiency = device.efficiency.copy()
    efficiency[[5, 70]] = 0
    device = replace(device, efficiency=efficiency)
    i, j = every_pair(device)
    weights = device.lor_weights(i, j)

    np.testing.assert_array_equal(weights, device.lor_weights(j, i))

    events = np.stack([i, j, 0 * i], axis=1).astype(np.int32)
    np.testing.assert_array_equal(Coincidence(device).seen(events), weights > 0)
    assert 0.1 < (weights > 0).mean() < 0.9


def test_windows_of_one_element_are_no_pair():
    device = replace(
        ring(),
        group=np.zeros((6, 6), np.int32),
        position_mm=np.repeat(ring().position_mm[::2], 2, axis=0),
    )
    assert device.lor_weights(np.array([1, 1]), np.array([0, 1])).tolist() == [0, 0]
    assert not Coincidence(device).seen(np.array([[1, 0, 0], [1, 1, 0]], np.int32)).any()


def test_random_cells_are_those_of_pairs_with_a_weight():
    device = ring()
    i, j = every_pair(device)
    singles = np.random.default_rng(1).uniform(0.5, 2, device.n_detectors)
    seen = (device.lor_weights(i, j) > 0) & (i > j)

    assert device.random_cells(None) == 8 * seen.sum()
    assert device.random_cells(singles) == pytest.approx(
        8 * (singles[i] * singles[j] * seen).sum(), rel=1e-12
    )


def test_partners_are_the_detectors_of_modules_in_coincidence():
    device = ring()
    singles = np.random.default_rng(1).uniform(0.5, 2, device.n_detectors)
    partner = device.group[np.ix_(device.module, device.module)] >= 0
    np.testing.assert_allclose(device.partners(singles), partner @ singles)


@pytest.mark.parametrize(("bins", "step", "half"), [(8, 5.0, 7), (7, 10.0, 3), (1, 10.0, 0)])
def test_tof_steps_are_half_bins_when_the_bins_are_even_in_number(bins, step, half):
    device = replace(ring(), tof_bins=bins)
    assert (device.tof_step_mm, device.tof_half_bins) == (step, half)


def test_rings_are_alike_in_x_and_y():
    device = ring()
    ids = device.ring_ids()
    at = device.detector_mm()[ids]

    assert ids.shape == (3, 24)
    assert sorted(ids.ravel()) == list(range(72))
    np.testing.assert_array_equal(at[:, :, 2], np.repeat([[-5], [0], [5]], 24, axis=1))
    np.testing.assert_allclose(at[1:, :, :2], at[:-1, :, :2], atol=1e-3)
    assert (np.diff(np.arctan2(at[0, :, 1], at[0, :, 0])) > 0).all()


@pytest.mark.parametrize("change", ["moved", "one more", "windows", "tilted"])
def test_other_shapes_have_no_rings(change):
    device = ring()
    at = device.position_mm.copy()

    if change == "moved":
        at[7, 0] += 0.01

    if change == "tilted":
        at[:, 2] += 1e-4 * np.arange(72)

    if change == "one more":
        at[7, 2] += 5

    device = replace(device, position_mm=at, one_window=change != "windows")
    assert device.ring_ids() is None


@pytest.mark.parametrize("singles", [None, np.linspace(0.5, 1.5, 72)])
def test_a_table_comes_back_from_its_files(tmp_path, singles):
    device = replace(ring(), singles=singles)
    tabulated.write_tables(tmp_path, device)
    back = cylinder.read_scanner(tmp_path / "scanner.json")
    for name in (*tabulated.SCANNER_FIGURES, *tabulated.ARRAYS, "singles"):
        np.testing.assert_array_equal(getattr(back, name), getattr(device, name), err_msg=name)


def test_files_that_do_not_fit_are_refused(tmp_path):
    tabulated.write_tables(tmp_path, ring())
    values = read_checked_json(tmp_path / "scanner.json")
    write_checked_json(
        tmp_path / "scanner.json", {k: v for k, v in values.items() if k != "calibration"}
    )

    with pytest.raises(
        ValueError, match=r"scanner\.json: 'calibration' is missing; expected kind, name"
    ):
        tabulated.read_tables(tmp_path)

    write_checked_json(tmp_path / "scanner.json", {**values, "tof_bin_mm": "10"})

    with pytest.raises(
        ValueError, match=r"scanner\.json: tof_bin_mm: expected a finite number > 0, got '10'"
    ):
        tabulated.read_tables(tmp_path)

    write_checked_json(tmp_path / "scanner.json", values)
    content = (tmp_path / "detectors.npz").read_bytes()

    for size in (0, 10, len(content) // 2):
        (tmp_path / "detectors.npz").write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"detectors\.npz: not a readable table of detectors"):
            tabulated.read_tables(tmp_path)

    (tmp_path / "detectors.npz").unlink()

    with pytest.raises(FileNotFoundError, match=r"detectors\.npz: no such file"):
        tabulated.read_tables(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("module", np.full(72, 6, np.int32), "module: expected 0 to 5, got 6 to 6"),
        ("group", np.full((6, 6), 2, np.int32), "group: expected -1 to 1, got 2 to 2"),
        (
            "place",
            np.full(72, 12, np.int32),
            "pair_efficiency: 288 values, but indexed out of them",
        ),
        ("place", np.full(72, -1, np.int32), ".*indexed out of them"),
        ("efficiency", np.full(72, np.nan, np.float32), "efficiency: expected finite numbers"),
        ("efficiency", np.ones(71, np.float32), r"efficiency: expected shape \(72,\), got \(71,\)"),
        ("singles", np.ones(71), r"singles: expected shape \(72,\), got \(71,\)"),
        ("position_mm", np.ones((72, 3)), "position_mm: expected float32, got float64"),
    ],
)
def test_tables_that_disagree_are_refused(tmp_path, name, value, message):
    tabulated.write_tables(tmp_path, replace(ring(), **{name: value}))
    with pytest.raises(ValueError, match=rf"detectors\.npz: {message}"):
        tabulated.read_tables(tmp_path)
