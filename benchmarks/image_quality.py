"""Contrast recovery and background variability of six hot spheres against iterations, for both
protocols.

After NEMA NU 2-2018, section 7: spheres of 10 to 37 mm at 4 : 1 in a warm body with a cold lung
insert, measured in discs of their diameter in the spheres' plane; the background in 12 places of
five planes. Simplified: the body is an ellipse, the spheres are painted without walls, and the
resolution is the default run's. The reconstructions use the protocols of a configuration, on voxels
of 3 mm. What the protocols do to quantities, and to a water cylinder on the configuration's own
grid (`water_cylinder`), goes to quantification.csv, which the page on physics shows.

Run by hand: python benchmarks/image_quality.py --scan-s 120 --out docs/figures (about ten minutes
on two cores).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import water_cylinder
from phantom_scan import Body, axes_mm, simulated

from tgdpet.config import loading
from tgdpet.config import sections as configuration
from tgdpet.config.sections import Grid
from tgdpet.io.files import write_csv
from tgdpet.recon import osem
from tgdpet.recon.subsets import OrderedEvents
from tgdpet.runtime.progress import Progress

GRID = Grid([136, 112, 56], [3.0, 3.0, 4.0])
DIAMETERS_MM = (10, 13, 17, 22, 28, 37)
RING_MM = 57.2  # the spheres' centres from the middle
CONTRAST = 4.0
BACKGROUND_BQML = 5300.0
BODY_MM = (147.0, 115.0)
LUNG_MM = 25.0
ITERATIONS = 10
COLOURS = {"v1": "#d55e00", "v2": "#0072b2"}


def spheres() -> Iterator[tuple[int, float, float]]:
    """Diameter and centre of each sphere, mm."""
    for i, diameter in enumerate(DIAMETERS_MM):
        angle = np.deg2rad(60 * i)

        yield diameter, RING_MM * np.cos(angle), RING_MM * np.sin(angle)


def body() -> Body:
    """The phantom, each voxel the mean of 27 points."""
    x, y, z = axes_mm(GRID)
    dx, dy, dz = GRID.voxel_mm
    activity = np.zeros(GRID.shape, np.float32)
    mu = np.zeros(GRID.shape, np.float32)

    shifts = list(np.ndindex(3, 3, 3))
    for i, j, k in shifts:
        u = x + (i - 1) / 3 * dx
        v = y + (j - 1) / 3 * dy
        w = z + (k - 1) / 3 * dz

        inside = ((u / BODY_MM[0]) ** 2 + (v / BODY_MM[1]) ** 2 <= 1) & (np.abs(w) < 90)
        lung = inside & (u**2 + v**2 < LUNG_MM**2)
        value = np.where(inside & ~lung, BACKGROUND_BQML, 0.0)
        for diameter, a, b in spheres():
            hot = (u - a) ** 2 + (v - b) ** 2 + w**2 < (diameter / 2) ** 2
            value = np.where(hot, CONTRAST * BACKGROUND_BQML, value)
        activity += (value / len(shifts)).astype(np.float32)

        tissue_per_cm = np.where(lung, 0.025, 0.096)
        mu_per_cm = np.where(inside, tissue_per_cm, 0.0)
        mu += (mu_per_cm / len(shifts)).astype(np.float32)

    return Body(activity, mu)


def measure(image: np.ndarray) -> Iterator[tuple[int, float, float, float]]:
    """Diameter, contrast recovery % and background variability % of each sphere, and the bias of
    its background regions, %.
    """
    x, y, z = axes_mm(GRID)
    planes = [int(np.abs(z.ravel() - z_mm).argmin()) for z_mm in (-20, -10, 0, 10, 20)]
    middle = image[:, :, planes[2]]
    angles = np.deg2rad(np.arange(0, 360, 30) + 15)

    for diameter, a, b in spheres():
        hot = middle[disc(x, y, a, b, diameter)].mean()

        regions = [disc(x, y, 112 * np.cos(t), 84 * np.sin(t), diameter) for t in angles]
        means = []
        for plane in planes:
            means += [image[:, :, plane][region].mean() for region in regions]
        background = np.array(means)

        recovery = (hot / background.mean() - 1) / (CONTRAST - 1) * 100
        variability = background.std(ddof=1) / background.mean() * 100
        bias = (background.mean() / BACKGROUND_BQML - 1) * 100
        yield diameter, float(recovery), float(variability), float(bias)


def core_bias_pc(image: np.ndarray, diameter: float, a: float, b: float) -> float:
    """Bias of a sphere's inner half (of its diameter) in its plane, %."""
    x, y, z = axes_mm(GRID)
    middle = image[:, :, int(np.abs(z.ravel()).argmin())]
    core = middle[disc(x, y, a, b, diameter / 2)].mean()

    return float((core / (CONTRAST * BACKGROUND_BQML) - 1) * 100)


def disc(x: np.ndarray, y: np.ndarray, a: float, b: float, diameter: float) -> np.ndarray:
    """Voxels (X, Y) whose centre lies within a disc."""
    inside = (x - a) ** 2 + (y - b) ** 2 <= (diameter / 2) ** 2

    return np.asarray(inside[:, :, 0])


def curves(config: configuration.Config, scan_s: float, threads: int) -> pd.DataFrame:
    """One row a protocol, iteration and sphere."""
    data = simulated(body(), GRID, config, scan_s, threads)
    n_events = len(data.events)

    rows = []
    for name, protocol in config.protocols.items():
        longer = dataclasses.replace(protocol, iterations=max(ITERATIONS, protocol.iterations))

        ordered = OrderedEvents(data.projector, data.events, data.additive)
        subsets = ordered.subsets(protocol.subsets)

        with Progress(n_events * longer.iterations, f"reconstruct {name}", "events") as bar:
            images = osem.iterate(
                data.projector,
                subsets,
                data.sensitivity,
                data.effective_s,
                longer,
                bar.update,
            )
            for iteration, image in enumerate(images, start=1):
                of_image = (name, protocol.iterations, n_events, iteration)
                for measured, sphere in zip(measure(image), spheres(), strict=True):
                    rows.append((*of_image, *measured, core_bias_pc(image, *sphere)))

    columns = [
        "protocol",
        "iterations_used",
        "events",
        "iteration",
        "diameter_mm",
        "recovery_pc",
        "variability_pc",
        "background_bias_pc",
        "core_bias_pc",
    ]
    return pd.DataFrame(rows, columns=columns)


def quantities(table: pd.DataFrame) -> Iterator[tuple[str, str, float]]:
    """Quantity, protocol or what the grid allows, and value in %, of the spheres' phantom."""
    used = table[table["iteration"] == table["iterations_used"]]

    for row in used.itertuples():
        yield f"recovery of the {row.diameter_mm} mm sphere", str(row.protocol), row.recovery_pc

    for diameter, recovery_pc, _variability_pc, _bias_pc in measure(body().activity):
        yield f"recovery of the {diameter} mm sphere", "grid", recovery_pc

    largest = used[used["diameter_mm"] == max(DIAMETERS_MM)]
    for row in largest.itertuples():
        yield "bias of the background", str(row.protocol), row.background_bias_pc
        yield f"bias of the {row.diameter_mm} mm sphere's core", str(row.protocol), row.core_bias_pc


def quantification(table: pd.DataFrame, config: configuration.Config, threads: int) -> pd.DataFrame:
    """A row a quantity, in %: each protocol's value, and what the voxels alone allow."""
    rows = [*water_cylinder.rows(config, threads), *quantities(table)]
    long = pd.DataFrame(rows, columns=["quantity (%)", "of", "value"])

    wide = long.pivot(index="quantity (%)", columns="of", values="value")
    in_order = wide.loc[long["quantity (%)"].drop_duplicates()]
    return in_order.round(1).reset_index()


def draw(table: pd.DataFrame, path: Path) -> None:
    """A panel a sphere: recovery against variability along the iterations.

    The iteration that the protocol uses is marked.
    """
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        2, 3, figsize=(7.2, 4.6), sharex=True, sharey=True, layout="constrained"
    )

    for ax, (diameter, of_sphere) in zip(axes.flat, table.groupby("diameter_mm"), strict=True):
        for name, line in of_sphere.groupby("protocol"):
            ax.plot(
                line["variability_pc"],
                line["recovery_pc"],
                "o-",
                ms=2.5,
                lw=1,
                color=COLOURS[str(name)],
                label=name,
            )

            used = line[line["iteration"] == line["iterations_used"]]
            ax.plot(
                used["variability_pc"],
                used["recovery_pc"],
                "s",
                ms=7,
                mfc="none",
                color=COLOURS[str(name)],
            )

        ax.axhline(100, color="0.7", lw=0.8, zorder=0)
        ax.set_title(f"{diameter} mm", fontsize=9)

    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.supxlabel("background variability (%)", fontsize=9)
    figure.supylabel("contrast recovery (%)", fontsize=9)
    figure.savefig(path, dpi=160)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config",
        default="config/config.yaml",
        help="whose scanner and protocols (default: %(default)s)",
    )
    parser.add_argument("--scan-s", type=float, default=60.0, help="duration of the scan, s")
    parser.add_argument("--threads", type=int, default=2, help="threads to use")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/figures"), help="folder for the CSV and the figure"
    )
    args = parser.parse_args()

    config = loading.read_config(args.config)
    table = curves(config, args.scan_s, args.threads)
    quantified = quantification(table, config, args.threads)

    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(args.out / "image_quality.csv", table)
    write_csv(args.out / "quantification.csv", quantified)
    draw(table, args.out / "image_quality.png")
    print(quantified.to_string(index=False))


if __name__ == "__main__":
    main()
