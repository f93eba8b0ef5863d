"""The command line: options of the numbered scripts, and the command `tgdpet`."""
