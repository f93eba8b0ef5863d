"""PET DICOM series in and out: to images in Bq/mL with a BIDS-PET sidecar, and back to a series."""
