"""List mode on disk: events, the study folder around them, subsampling, expected background."""
