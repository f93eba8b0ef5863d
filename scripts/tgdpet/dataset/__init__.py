"""2.5D data sets: the index of slices, volumes in memory or mapped, patches, replay."""
