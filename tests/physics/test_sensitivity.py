"""LORs, weights, sensitivity and the additive term against counting and integrating one by one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest
from scipy.special import erf

from small_scanner import (
    LONG,
    LONG_GRID,
    SMALL,
    all_lors,
    cylinder,
    events_of,
    positions_mm,
    some_lors,
)
from tgdpet.config.sections import Grid
from tgdpet.listmode.background import Background
from tgdpet.recon import additive_term, sensitivity, sensitivity_pairs, symmetry
from tgdpet.recon.projector_cpu import Projector
from tgdpet.scanner.cylinder import Scanner

GRID = Grid([20, 20, 8], [7.0, 7.0, 6.0])
FINE = Scanner(120.0, 120, 6, 8.0, 4, 280.0, 140.0, 0.5, 80.0)
NOISE = Background(3000.0, [12.0, -8.0, 4.0], [50.0, 40.0, 30.0], 2e-4)


def weights_by_hand(scanner: Scanner, det0: np.ndarray, det1: np.ndarray) -> np.ndarray:
    """efficiency^2 A^2 cos cos / (2 pi D^2): each photon's chance from solid angles."""
    p = positions_mm(scanner, det0)
    q = positions_mm(scanner, det1)
    d = np.linalg.norm(q - p, axis=1)
    u = (q - p) / d[:, None]

    # the crystals' normals point to the axis
    cosine0 = (u[:, :2] * -p[:, :2]).sum(axis=1) / scanner.radius_mm
    cosine1 = (u[:, :2] * q[:, :2]).sum(axis=1) / scanner.radius_mm
    area = 2 * np.pi * scanner.radius_mm / scanner.crystals_per_ring * scanner.ring_pitch_mm

    return scanner.efficiency**2 * area**2 * cosine0 * cosine1 / (2 * np.pi * d**2)


@pytest.mark.parametrize("crystals", [46, 47])
@pytest.mark.parametrize("max_difference", [5, 2, 0])
def test_n_lors_is_what_one_counts(crystals, max_difference):
    scanner = Scanner(120.0, crystals, 6, 8.0, max_difference, 280.0, 140.0, 0.5, 80.0)
    det0, det1 = all_lors(scanner)
    partners = crystals - 2 * scanner.min_crystal_difference + 1
    assert scanner.n_lors == len(det0)
    assert scanner.n_ring_pairs * crystals * partners == 2 * len(det0)


def test_geometric_weights_follow_from_solid_angles():
    det0, det1 = all_lors(SMALL)
    np.testing.assert_allclose(
        SMALL.lor_weights(det0, det1), weights_by_hand(SMALL, det0, det1), rtol=1e-5
    )
    assert np.array_equal(SMALL.lor_weights(det0, det1), SMALL.lor_weights(det1, det0))


def test_weights_are_zero_but_on_accepted_lors():
    every = np.arange(SMALL.n_detectors)
    det0, det1 = (a.ravel() for a in np.meshgrid(every, every, indexing="ij"))
    weight = SMALL.lor_weights(det0, det1)

    assert (weight > 0).sum() == 2 * SMALL.n_lors

    by_hand = weights_by_hand(SMALL, *all_lors(SMALL))
    assert weight.sum() == pytest.approx(2 * by_hand.sum(), rel=1e-6)


def brute_force(grid: Grid, scanner: Scanner, mu_per_cm: np.ndarray) -> np.ndarray:
    det0, det1 = all_lors(scanner)
    projector = Projector(scanner, grid)
    survive = np.exp(-projector.forward(mu_per_cm.astype(float) / 10, det0, det1))
    values = survive * weights_by_hand(scanner, det0, det1)

    return projector.back(values, det0, det1) * 1e-3


BEYOND = Grid([20, 20, 14], [7.0, 7.0, 6.0])  # its outer slices lie outside the detectors


@dataclass(frozen=True)
class Ringless(Scanner):
    """The same cylinder, given as single detectors."""

    def ring_ids(self) -> None:  # type: ignore[override]
        return None


# rings beyond the image and not; LORs along all three axes
CASES = [
    (FINE, GRID),
    (FINE, BEYOND),
    (FINE, Grid([20, 22, 3], [7.0, 6.0, 6.0])),
    (FINE, Grid([36, 36, 6], [8.0, 8.0, 6.0])),  # voxels beyond the ring
    (replace(FINE, crystals_per_ring=119), GRID),  # one mirror only
    (LONG, LONG_GRID),
]


@pytest.mark.parametrize(("scanner", "grid"), CASES)
@pytest.mark.parametrize("mu_per_cm", [0.0, 0.12])
def test_sensitivity_is_the_sum_over_all_lors(scanner, grid, mu_per_cm):
    mu = (mu_per_cm * cylinder(grid, 55.0)).astype(np.float32)
    mu[:, : grid.shape[1] // 2] *= 0.5  # no symmetry to hide behind
    exact = brute_force(grid, scanner, mu)

    assert (exact > 0).any(axis=(0, 1)).sum() >= 3

    for kind in (scanner, Ringless(**asdict(scanner))):
        image = sensitivity.sensitivity(Projector(kind, grid, threads=2), mu)
        assert image.dtype == np.float32
        np.testing.assert_allclose(image, exact, rtol=1e-5, atol=1e-6 * exact.max())


@pytest.mark.parametrize(
    ("crystals", "shape", "n_mirrors"),
    [(120, [20, 20], 8), (120, [20, 22], 4), (118, [20, 20], 4), (119, [20, 20], 2)],
)
def test_groups_of_mirror_images_hold_every_pair_of_columns_once(crystals, shape, n_mirrors):
    scanner = replace(FINE, crystals_per_ring=crystals)
    columns = scanner.ring_ids()[0]
    xy_mm = scanner.detector_mm()[columns, :2].astype(float)
    found = symmetry.mirrors(xy_mm, shape, np.array([7.0, 7.0, 6.0]))

    assert len(found) == n_mirrors
    assert np.array_equal(found[0].columns, np.arange(crystals))

    of_columns = symmetry.groups(xy_mm, found)
    first = of_columns.first[of_columns.used]
    second = of_columns.second[of_columns.used]
    numbers = np.minimum(first, second) * crystals + np.maximum(first, second)

    every = np.triu_indices(crystals, 1)
    assert np.array_equal(np.sort(numbers), every[0] * crystals + every[1])

    # as far apart as in lane 0, along the axes that the mirror swaps or not
    distance_mm = np.abs(xy_mm[of_columns.first] - xy_mm[of_columns.second])
    leads = np.broadcast_to(distance_mm[:, :1], distance_mm.shape)
    as_in_lane_0 = np.isclose(distance_mm, leads, atol=1e-3).all(axis=2)
    swapped = np.isclose(distance_mm, leads[:, :, ::-1], atol=1e-3).all(axis=2)
    assert (as_in_lane_0 | swapped)[of_columns.used].all()


def test_a_sample_of_pairs_is_near_the_smoothed_sum_over_all():
    mu = (0.12 * cylinder(GRID, 55.0)).astype(np.float32)
    projector = Projector(Ringless(**asdict(FINE)), GRID)
    exact = brute_force(GRID, FINE, mu)
    smooth = sensitivity_pairs._smooth(exact, GRID.voxel_mm)

    sampled = sensitivity.sensitivity(projector, mu, max_pairs=100_000)
    inside = exact > 0.2 * exact.max()

    assert np.sqrt(np.mean((sampled[inside] / smooth[inside] - 1) ** 2)) < 0.03
    assert sampled.sum() == pytest.approx(smooth.sum(), rel=0.01)


def test_pairs_are_numbered_without_gaps():
    n = 3000
    det0, det1 = sensitivity_pairs._numbered_pairs(np.arange(n * (n - 1) // 2))
    assert (det0 > det1).all() and det0.max() == n - 1 and det1.min() == 0

    every = np.ravel_multi_index(np.tril_indices(n, -1), (n, n))
    assert np.array_equal(np.sort(det0 * n + det1), np.sort(every))

    for number in (0, 2 * 10**9, 7 * 10**10):
        i, j = (int(v[0]) for v in sensitivity_pairs._numbered_pairs(np.array([number])))
        assert i * (i - 1) // 2 + j == number and 0 <= j < i


def test_detectors_of_one_column_cannot_be_in_coincidence():
    @dataclass(frozen=True)
    class Odd(Scanner):
        def lor_weights(self, det0: np.ndarray, det1: np.ndarray) -> np.ndarray:
            return np.ones(np.broadcast(det0, det1).shape)

    projector = Projector(Odd(**asdict(SMALL)), GRID)

    with pytest.raises(
        ValueError, match="detectors of one column along the axis are in coincidence"
    ):
        sensitivity.sensitivity(projector, np.zeros(GRID.shape, np.float32))


def test_the_cache_knows_geometry_and_attenuation(tmp_path, monkeypatch):
    mu = (0.12 * cylinder(GRID, 55.0)).astype(np.float32)
    other = {
        "scanner": replace(SMALL, efficiency=0.4),
        "grid": replace(GRID, voxel_mm=[7.0, 7.0, 5.0]),
        "mu": mu * 2,
    }

    def image(scanner: Scanner = SMALL, grid: Grid = GRID, mu: np.ndarray = mu) -> np.ndarray:
        return sensitivity.cached(Projector(scanner, grid), mu, tmp_path)

    first = image()

    for change, value in other.items():
        assert not np.array_equal(image(**{change: value}), first)

    assert len(list(tmp_path.iterdir())) == 4

    key = sensitivity.key(Projector(SMALL, GRID), mu * 2)
    (tmp_path / f"sensitivity-{key}.npy").write_bytes(b"damaged")
    assert image(mu=mu * 2).mean() < first.mean()

    monkeypatch.setattr(sensitivity, "sensitivity", lambda *args: pytest.fail("computed again"))
    assert np.array_equal(image(), first)


def test_a_damaged_image_of_the_cache_is_computed_anew(tmp_path, capsys):
    mu = np.zeros(GRID.shape, np.float32)
    image = sensitivity.cached(Projector(SMALL, GRID), mu, tmp_path)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 64]))

    again = sensitivity.cached(Projector(SMALL, GRID), mu, tmp_path)

    np.testing.assert_array_equal(again, image)
    assert "damaged: expected the digest" in capsys.readouterr().err
    assert path.read_bytes() == content


def test_central_sensitivity_is_the_solid_angle_of_the_detectors():
    scanner = Scanner(390.0, 240, 26, 4.0, 25, 280.0, 140.0, 0.5, 290.0)
    grid = Grid([31, 31, 27], [8.0, 8.0, 4.0])
    image = sensitivity.sensitivity(Projector(scanner, grid), np.zeros(grid.shape, np.float32))
    centre = image[12:19, 12:19, 13].mean()  # single voxels feel the crystals
    z = np.linspace(-4, 4, 801)
    half = scanner.axial_mm / 2 - np.abs(z)
    both_hit = np.average(half / np.hypot(half, scanner.radius_mm), weights=4 - np.abs(z))
    expected = scanner.efficiency**2 * both_hit * 0.256  # mL a voxel

    assert centre == pytest.approx(expected, rel=0.03)


def test_the_cache_knows_every_efficiency():
    @dataclass(frozen=True, eq=False)
    class Table(Scanner):
        gain: np.ndarray

    def key(gain: np.ndarray) -> str:
        projector = Projector(Table(**asdict(SMALL), gain=gain), GRID)
        return sensitivity.key(projector, np.zeros(GRID.shape, np.float32))

    gain = np.ones(10_000)
    other = np.ones(10_000)
    other[1234] = 0.5

    assert key(gain) == key(gain.copy()) != key(other)


def test_sensitivity_tells_its_progress():
    for scanner in (SMALL, Ringless(**asdict(SMALL))):
        done: list[int] = []
        nothing = np.zeros(GRID.shape, np.float32)
        sensitivity.sensitivity(Projector(scanner, GRID), nothing, done.append)
        assert sum(done) == sensitivity.work(scanner)


def some_events(n: int) -> np.ndarray:
    det0, det1 = some_lors(SMALL, n)
    tof = np.random.default_rng(0).integers(-4, 5, n)

    return events_of(det0, det1, tof)


def scatter_by_hand(scanner: Scanner, noise: Background, event: np.void) -> float:
    """Line integral of the Gaussian source, weighted with the chance of the TOF bin."""
    p = positions_mm(scanner, np.array([event["det0"]]))[0]
    q = positions_mm(scanner, np.array([event["det1"]]))[0]
    u = (q - p) / np.linalg.norm(q - p)

    along = np.linspace(-400, 400, 8001)
    points = (p + q) / 2 + along[:, None] * u - np.array(noise.scatter_centre_mm)
    sigma = np.array(noise.scatter_sigma_mm)
    volume = (2 * np.pi) ** 1.5 * sigma.prod()
    density = np.exp(-0.5 * ((points / sigma) ** 2).sum(axis=1)) / volume

    half = scanner.tof_bin_mm / 2
    scale = math.sqrt(2) * scanner.tof_sigma_mm
    distance = along - event["tof"] * scanner.tof_bin_mm
    chance = 0.5 * (erf((distance + half) / scale) - erf((distance - half) / scale))

    return float(noise.scatter_bq * (density * chance).sum() * (along[1] - along[0]))


def test_scatter_density_is_the_line_integral_within_the_tof_bin():
    events = some_events(30)
    ours = additive_term.scatter_density(
        SMALL.detector_mm().astype(np.float64),
        events["det0"],
        events["det1"],
        events["tof"],
        additive_term.scatter_source(NOISE),
        additive_term.tof_bins(SMALL),
    )
    by_hand = [scatter_by_hand(SMALL, NOISE, e) for e in events]

    np.testing.assert_allclose(ours, by_hand, rtol=1e-3, atol=1e-6 * max(by_hand))


@pytest.mark.parametrize("threads", [1, 2])
def test_additive_is_background_over_attenuation_and_weight(threads):
    events = some_events(40)
    mu = (0.096 * cylinder(GRID, 55.0)).astype(np.float32)
    projector = Projector(SMALL, GRID, threads)
    ours = additive_term.additive(projector, events, mu, NOISE)
    survive = np.exp(-projector.forward(mu / 10, events["det0"], events["det1"]))
    randoms = NOISE.randoms_per_s / weights_by_hand(SMALL, events["det0"], events["det1"])
    scatter = np.array([scatter_by_hand(SMALL, NOISE, e) for e in events])
    expected = 1e3 * (randoms + scatter) / survive  # 1e3: per mm3 to per mL

    np.testing.assert_allclose(ours, expected, rtol=2e-3)


def test_a_given_background_replaces_the_model():
    events = some_events(40)
    mu = (0.096 * cylinder(GRID, 55.0)).astype(np.float32)
    projector = Projector(SMALL, GRID)
    given = np.random.default_rng(1).random(40).astype(np.float32)
    ours = additive_term.additive(projector, events, mu, NOISE, given)
    survive = np.exp(-projector.forward(mu / 10, events["det0"], events["det1"]))
    weight = weights_by_hand(SMALL, events["det0"], events["det1"])

    np.testing.assert_allclose(ours, 1e3 * given / weight / survive, rtol=1e-4)


def test_randoms_go_with_the_singles_and_events_on_dead_lors_are_left_out():
    @dataclass(frozen=True)
    class Uneven(Scanner):
        def relative_singles(self) -> np.ndarray:  # type: ignore[override]
            return np.linspace(0.5, 1.5, self.n_detectors)

    events = some_events(40)
    none = np.zeros(GRID.shape, np.float32)
    noise = replace(NOISE, scatter_bq=0.0)
    even = additive_term.additive(Projector(SMALL, GRID), events, none, noise)
    singles = np.linspace(0.5, 1.5, SMALL.n_detectors)
    uneven = additive_term.additive(Projector(Uneven(**asdict(SMALL)), GRID), events, none, noise)
    both_singles = singles[events["det0"]] * singles[events["det1"]]

    np.testing.assert_allclose(uneven / even, both_singles, rtol=1e-5)

    events["det1"] = events["det0"] + 1
    assert np.isinf(additive_term.additive(Projector(SMALL, GRID), events, none, NOISE)).all()
