"""What the Snakefile needs: costs and sizes of jobs, the lock of a results folder, failures."""
