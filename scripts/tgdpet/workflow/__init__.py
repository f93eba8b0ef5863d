"""What the Snakefile needs: costs, the lock of a results folder, failures, compilation."""
