"""What a job runs on: device, processes, seeds, progress."""
