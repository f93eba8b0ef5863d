"""The kinds of layers that the method knows: convolutions, whose kernels it retrains, and norms."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

CONVS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
BATCHNORM_LAYERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
INSTANCENORM_LAYERS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
NORM_LAYERS = (*BATCHNORM_LAYERS, nn.GroupNorm, *INSTANCENORM_LAYERS)
NORM_FUNCTION_NAMES = (
    "batch_norm",
    "group_norm",
    "layer_norm",
    "instance_norm",
    "rms_norm",
    "local_response_norm",
    "normalize",
)
NORM_FUNCTIONS = frozenset(
    getattr(namespace, name)
    for namespace in (functional, torch)
    for name in NORM_FUNCTION_NAMES
    if hasattr(namespace, name)  # some came with later versions of torch
)
