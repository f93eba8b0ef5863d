"""`tgdpet networks`: the networks that come with the package."""

from __future__ import annotations

import argparse
from typing import Any

NETWORKS = """\
List the networks that come with the package, or print the card of one.

Their names stand wherever a network is asked for: --model v2-net."""

COLUMNS = ("network", "voxels (mm)", "noise", "99th percentile (Bq/mL)", "trained on")


def networks_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tgdpet networks`."""
    parser.add_argument("network", nargs="?", metavar="NAME", help="print the card of this one")


def show_networks(args: argparse.Namespace) -> None:
    """Run `tgdpet networks`."""
    from ..networks import shipped

    known = shipped.shipped()
    if args.network is not None:
        if args.network not in known:
            names = ", ".join(known) or "none"
            raise ValueError(f"{args.network}: no such network; with the package come {names}")

        print(known[args.network].card.read_text(encoding="utf-8"), end="")
        return

    rows = [COLUMNS]
    for network in known.values():
        domain = network.domain
        rows.append(
            (
                network.name,
                " x ".join(f"{size:g}" for size in domain.get("voxel_mm", [])),
                _range(domain.get("noise"), "{:.1%}"),
                _range(domain.get("p99_bqml"), "{:.0f}"),
                network.trained_on,
            )
        )

    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def _range(limits: Any, form: str) -> str:
    """A range in words; nothing where it is not known."""
    return " to ".join(form.format(value) for value in limits) if limits else ""
