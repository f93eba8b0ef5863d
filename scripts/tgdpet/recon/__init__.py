"""TOF list-mode OSEM: projectors, sensitivity image, additive term, updates."""
