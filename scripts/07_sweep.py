#!/usr/bin/env python
"""What each phi of a sweep gains and forgets on studies held out of training, and what dropping
below it changes.
"""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.config.sections import Training


def main() -> None:
    """Parse the command line, read the networks, measure, write the table."""
    parser = arguments.parser(__doc__ or "")
    parser.add_argument(
        "--base", type=Path, required=True, help="network that all started from (.safetensors)"
    )
    parser.add_argument("--scores", type=Path, required=True, help="its KSE table")
    parser.add_argument(
        "--phi", type=float, nargs="+", required=True, help="thresholds; inf: plain fine-tuning"
    )
    parser.add_argument(
        "--networks", type=Path, nargs="+", required=True, help="the network retrained at each"
    )
    parser.add_argument("--old", type=Path, required=True, help="index.tsv of the old task")
    parser.add_argument("--new", type=Path, required=True, help="index.tsv of the new task")
    parser.add_argument(
        "--image", type=Path, required=True, help="noisy image to drop kernels on, Bq/mL"
    )
    parser.add_argument(
        "--reference", type=Path, required=True, help="image of the whole scan, Bq/mL"
    )
    parser.add_argument("--seed", type=int, default=0, help="the run's seed")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to run"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, required=True, help="table to write (.csv)")
    arguments.add_options(parser, Training)
    args = parser.parse_args()
    settings = arguments.from_options(args, Training)
    if len(args.phi) != len(args.networks):
        raise ValueError(
            f"--networks: expected {len(args.phi)}, one for each --phi, got {len(args.networks)}"
        )

    from tgdpet.config import sweep
    from tgdpet.io import nifti
    from tgdpet.io.files import write_csv
    from tgdpet.networks import drop_kernels, weights
    from tgdpet.networks.score_table import read_scores
    from tgdpet.runtime import device
    from tgdpet.runtime.progress import Progress
    from tgdpet.training import judge

    place = device.pick(args.device, args.threads)
    base, card = weights.load(args.base, place)
    scale = card.intensity_scale_bqml
    found = {0.0: (card.network, base)}
    for value, path in zip(args.phi, args.networks, strict=True):
        model, own = weights.load(path, place)
        found[value] = (own.network, model)
    old, new = (
        judge.judge(index, settings, scale, args.seed, place) for index in (args.old, args.new)
    )
    image, reference = (nifti.read_image(path).data for path in (args.image, args.reference))
    below = [value for value in args.phi if value != sweep.PLAIN]
    with Progress(image.shape[2] * (len(below) + 1), "drop kernels", "slices") as bar:
        scores = read_scores(args.scores, base.scored)
        drops, _ = drop_kernels.experiment(
            base, scores, image, reference, below, scale, place, bar.update
        )
    write_csv(args.out, judge.measured(found, drops, old, new, settings))


if __name__ == "__main__":
    arguments.run(main)
