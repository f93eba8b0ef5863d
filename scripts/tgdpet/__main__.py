"""`python -m tgdpet` is the command `tgdpet`."""

from .cli.command import main

main()
