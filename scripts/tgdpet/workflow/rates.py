"""Numbers that `costs` counts with, measured once: rates of this code, sizes of its files."""

# Of one core of a 2-core AMD EPYC (Zen 4) virtual machine in the default run, unless said
# otherwise.

# Demo scanner, BMI 24, 3.7 MBq/kg: pilot of the simulation, 280 mm of the body in view
EVENTS_PER_S = 12_000.0
# Events written, the bounds of a study's emissions included
SIMULATE_EVENTS_PER_CORE_S = 1.0e6
# PETSIRD to internal list mode
IMPORT_EVENTS_PER_CORE_S = 1.5e7
# One sample's decision; 1.3e9 without the reading
SUBSAMPLE_EVENTS_PER_CORE_S = 2.0e8
# Forward and back projection of an event, 4 mm voxels, 280 ps
RECON_EVENTS_PER_CORE_S = 1.9e6
# Resolution model twice and update, once a subset
RECON_VOXELS_PER_CORE_S = 4.0e7
# All LORs of the demo scanner there and back over 104 planes, once a study
SENSITIVITY_LORS_PER_CORE_S = 3.2e6
# Attenuation and background of an event, 4 mm voxels, once a study
ADDITIVE_EVENTS_PER_CORE_S = 1.0e6
# 127 kpixel/s at width 0.25 on one core are 6.3e10; wider nets a little less
TRAIN_FLOP_PER_CORE_S = 5.5e10
# An H100 did 1.1e14 at width 1 (bf16, compiled): half of that, for lesser cards
TRAIN_FLOP_PER_GPU_S = 5.0e13
# Least time of a step on a GPU, however small the network: starting its kernels (H100: 5)
TRAIN_STEP_GPU_S = 6.0e-3
# Not measured: plain float32
DENOISE_FLOP_PER_GPU_S = 1.0e13
# A process that imports numba or torch
START_S = 2.5
# All measures of one image
EVALUATE_S_PER_VOXEL = 1.0e-7
FIGURE_S = 4.0
# KSE at the paper's width, from 2.8 s at a quarter of it
SCORE_CORE_S = 180.0

# Size of a compressed float32 image over its raw size (noise hardly compresses)
GZIP_SHARE = 0.9
