"""The HTML report, the summary on the screen, and the reference folder."""
