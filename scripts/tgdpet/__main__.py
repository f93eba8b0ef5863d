"""`python -m tgdpet` is the command `tgdpet`."""

from .command import main

main()
