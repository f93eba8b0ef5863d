"""Compare a finished run or study with the reference, row by row within intervals; or keep it as
the reference.

Exit code 1 when a row differs or is missing.
"""

import sys
from pathlib import Path

from tgdpet.cli import arguments

DEFAULT = Path("results/reference")


def main() -> None:
    """Parse, read, compare, print; or write."""
    parser = arguments.parser(__doc__ or "")
    option = parser.add_argument
    option("--results", required=True, type=Path, help="results folder of a run or a study")
    option("--reference", type=Path, default=DEFAULT, help="the reference's folder")
    option("--write", action="store_true", help="make the reference from these results instead")
    option("--command", help="with --write: the command that made the results")
    args = parser.parse_args()

    from tgdpet.evaluation import reference
    from tgdpet.report import reference_folder

    if args.write:
        if not args.command:
            parser.error("--write needs --command, the command that made the results")

        names = reference_folder.write_reference(args.results, args.reference, args.command)
        print(f"{args.reference}: {len(names)} files from {args.results}")
        return

    reference_folder.check_same(args.results, args.reference)
    new = reference.read_reference(args.results)
    kept = reference.read_reference(args.reference)

    rows = reference.compare(new, kept)
    print(reference.comparison_text(rows, new, kept))
    print(reference_folder.precision_note(args.results, args.reference))
    if not reference.passed(rows):
        sys.exit(1)


if __name__ == "__main__":
    arguments.run(main)
