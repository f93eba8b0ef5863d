"""What the Snakefile needs: costs, sizes of jobs, the lock of a folder, failures, compilation."""
