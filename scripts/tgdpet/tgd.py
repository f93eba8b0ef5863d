"""Targeted Gradient Descent (Chen, Asma and Chan, MICCAI 2021): retrain redundant kernels, keep the others bit for bit.

scores = score_kernels(model, example_input)
masks = select(scores, phi=0.3)
with TGD(model, masks) as tgd:
    optimizer = torch.optim.Adam(tgd.parameters(), lr=1e-4)
    for noisy, target in batches:
        optimizer.zero_grad()
        loss(model(noisy), target).backward()
        tgd.step(optimizer)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import kse, probe

FLOWS = ("parameter", "layer")
BATCHNORMS = ("eval", "per_channel", "train")


def score_kernels(model: nn.Module, example_input: Any, *, k: int = 5, alpha: float = 1.0) -> dict[str, Tensor]:
    """Module name -> KSE of each output kernel (C_out,) float64, as the convolutions that read it see it.

    Where several read a channel the largest score counts: it is redundant only if nobody needs it. Modules that
    no convolution reads (the last one) are absent, and so frozen. Raises ValueError naming what cannot be traced.
    """
    return {name: parts.kse for name, parts in score_components(model, example_input, k=k, alpha=alpha).items()}


def score_components(
    model: nn.Module, example_input: Any, *, k: int = 5, alpha: float = 1.0
) -> dict[str, kse.Components]:
    """As `score_kernels`, with the sparsity and entropy of the consumer that gave the score."""
    modules = dict(model.named_modules())
    out: dict[str, list[kse.Components]] = {}
    seen: dict[str, list[Tensor]] = {}
    for link in probe.links(model, example_input):
        if link.producer == probe.INPUT:
            continue
        parts = input_scores(modules[link.consumer], k=k, alpha=alpha)
        masked = torch.where(link.reach, parts.kse, -torch.inf)
        best = masked.argmax(dim=1)
        value = masked.max(dim=1).values
        chosen = kse.Components(parts.sparsity[best], parts.entropy[best], value)
        out.setdefault(link.producer, []).append(chosen)
        seen.setdefault(link.producer, []).append(value)
    return {name: _largest(parts) for name, parts in out.items()}


def input_scores(module: nn.Module, *, k: int = 5, alpha: float = 1.0) -> kse.Components:
    """KSE of the input channels (C_in,) of a convolution, transposed or grouped ones too."""
    weight = module.weight.detach().cpu()  # type: ignore[operator]
    groups = int(module.groups)  # type: ignore[arg-type]
    if getattr(module, "transposed", False):
        parts = [part.transpose(0, 1) for part in weight.chunk(groups)]  # stored (C_in, C_out / groups, ...)
    else:
        parts = list(weight.chunk(groups))
    raw = [kse.components(part, k=k, alpha=alpha) for part in parts]
    sparsity, entropy = (torch.cat([getattr(r, n) for r in raw]) for n in ("sparsity", "entropy"))
    return raw[0] if groups == 1 else kse.Components(sparsity, entropy, kse.combine(sparsity, entropy, alpha))


def select(scores: Mapping[str, Tensor], phi: float = 0.3, fraction: float | None = None) -> dict[str, Tensor]:
    """Module name -> (C_out,) bool, True = redundant, to be retrained: KSE strictly below `phi`.

    `fraction` in [0, 1] instead retrains that share of all scored kernels, the lowest scores first (ties: in order
    of layer and channel).
    """
    if fraction is None:
        return {name: torch.as_tensor(values) < phi for name, values in scores.items()}
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction: expected a share in [0, 1], got {fraction}")
    tensors = {name: torch.as_tensor(values) for name, values in scores.items()}
    together = torch.cat(list(tensors.values()))
    chosen = torch.zeros(len(together), dtype=torch.bool)
    chosen[together.argsort(stable=True)[: round(fraction * len(together))]] = True
    return dict(zip(tensors, chosen.split([len(t) for t in tensors.values()]), strict=True))


class TGD:
    """Lets the masked kernels of a model move, and nothing else; a context manager.

    `masks`: module name -> (C_out,) bool, True = may move; convolutions that are absent are frozen. A kernel's
    bias and the scale and shift of the batch normalisation that follows it move with it (the next
    one in order of registration, before another convolution, of as many channels).
    `flow="parameter"`: the true gradient flows and targeted parameters move (eq. 4). `flow="layer"`: an identity
    after each convolution and normalisation also stops the gradient of useful channels on its way back.
    `batchnorm`: `eval` keeps all running statistics, `per_channel` lets those of targeted channels follow the
    batches, `train` those of all. Call `train_mode()` where a loop would call `model.train()`.

    Useful values are restored from a snapshot after each step, so they keep their bits whatever the optimizer does.
    """

    def __init__(
        self, model: nn.Module, masks: Mapping[str, Tensor], *, flow: str = "parameter", batchnorm: str = "eval"
    ) -> None:
        if flow not in FLOWS:
            raise ValueError(f"flow: expected one of {', '.join(FLOWS)}, got {flow!r}")
        if batchnorm not in BATCHNORMS:
            raise ValueError(f"batchnorm: expected one of {', '.join(BATCHNORMS)}, got {batchnorm!r}")
        self.model, self.flow, self.batchnorm = model, flow, batchnorm
        self.masks = _checked(model, masks)
        self._handles: list[Any] = []
        self._norms = norms_after(model)
        self._rows = self._moving_rows()
        self._wanted_grad = {p: p.requires_grad for p in model.parameters()}
        self._snapshot = {name: t.detach().clone() for name, t in model.state_dict(keep_vars=True).items()}
        self._attach()

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of which something may move; give these to a fresh optimizer."""
        return (p for name, p in self.model.named_parameters() if name in self._rows)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """`optimizer.step()`, then everything that may not move is set back to its snapshot."""
        optimizer.step()
        self.restore()

    @torch.no_grad()
    def restore(self) -> None:
        """Set useful kernels, and statistics that are kept, to their snapshot's bits."""
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            rows = self._free_rows(name)
            if rows is None:
                tensor.copy_(self._snapshot[name])
            elif isinstance(rows, Tensor):
                tensor.copy_(torch.where(_along(rows, tensor), tensor, self._snapshot[name]))

    def unchanged(self) -> bool:
        """Whether all that may not move has the bits of its snapshot."""
        for name, tensor in self.model.state_dict().items():
            rows = self._free_rows(name)
            if rows is True:
                continue
            old, new = _bits(self._snapshot[name]), _bits(tensor)
            same = old == new
            if isinstance(rows, Tensor):
                same = same | _along(rows, same)
            if not bool(same.all()):
                return False
        return True

    def train_mode(self) -> None:
        """Training mode, with normalisation as `batchnorm` says."""
        self.model.train()
        if self.batchnorm != "train":
            for module in self.model.modules():
                if isinstance(module, probe.BATCHNORMS):
                    module.eval()

    def counts(self) -> dict[str, int]:
        """Numbers of kernels and parameters, in all and retrained."""
        kernels = sum(int(m.out_channels) for m in _convolutions(self.model).values())
        named = dict(self.model.named_parameters())
        moved = sum(int(_along(rows, named[n]).expand_as(named[n]).sum()) for n, rows in self._rows.items())
        return {
            "kernels_total": kernels,
            "kernels_retrained": sum(int(m.sum()) for m in self.masks.values()),
            "parameters_total": sum(p.numel() for p in named.values()),
            "parameters_retrained": moved,
        }

    def detach(self) -> None:
        """Take hooks off; gradients are wanted again where they were."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for module in self.model.modules():
            module.__dict__.pop("forward", None) if getattr(module, "_tgd_forward", False) else None
            module.__dict__.pop("_tgd_forward", None)
        for parameter, wanted in self._wanted_grad.items():
            parameter.requires_grad_(wanted)

    def __enter__(self) -> TGD:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()
        self.detach()

    def _moving_rows(self) -> dict[str, Tensor]:
        """Parameter name -> which of its output channels may move; fully frozen parameters are absent."""
        modules, out = dict(self.model.named_modules()), {}
        for name, mask in self.masks.items():
            if not bool(mask.any()):
                continue
            for owner in [name, *([self._norms[name]] if name in self._norms else [])]:
                for key, _ in modules[owner].named_parameters(recurse=False):
                    out[f"{owner}.{key}"] = mask
        return out

    def _free_rows(self, name: str) -> Tensor | bool | None:
        """None: frozen; True: free; else the channels of a parameter or buffer that may move."""
        if name in self._rows:
            return self._rows[name]
        owner, _, key = name.rpartition(".")
        if key in ("running_mean", "running_var", "num_batches_tracked") and self.batchnorm != "eval":
            if self.batchnorm == "train" or key == "num_batches_tracked":
                return True
            producer = {norm: conv for conv, norm in self._norms.items()}.get(owner)
            return self.masks.get(producer) if producer is not None else None
        return None

    def _attach(self) -> None:
        modules = dict(self.model.named_modules())
        for name, parameter in self.model.named_parameters():
            rows = self._rows.get(name)
            parameter.requires_grad_(rows is not None)
            if rows is not None:  # masked_fill, as 0 * NaN is NaN
                frozen = ~_along(rows, parameter)
                self._handles.append(parameter.register_hook(lambda g, f=frozen: g.masked_fill(f, 0)))
        for name, mask in self.masks.items():
            norm = modules[self._norms[name]] if name in self._norms else None
            if self.flow == "layer":
                for module in [modules[name], *([norm] if norm is not None else [])]:
                    self._handles.append(module.register_forward_hook(_gate(mask)))
            if self.batchnorm == "per_channel" and norm is not None and bool(mask.any()):
                norm.__dict__["forward"] = _per_channel(norm, mask)
                norm.__dict__["_tgd_forward"] = True


def _gate(mask: Tensor) -> Any:
    """Forward hook that lets the output pass as it is and stops the gradient of useful channels (the paper's layer)."""

    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        if output.requires_grad:
            useful = ~mask.reshape([1, -1] + [1] * (output.ndim - 2))
            output.register_hook(lambda gradient: gradient.masked_fill(useful, 0))

    return hook


def _per_channel(norm: nn.Module, mask: Tensor) -> Any:
    index = mask.nonzero()[:, 0]

    def forward(x: Tensor) -> Tensor:
        n: Any = norm
        kept = functional.batch_norm(
            x, n.running_mean.clone(), n.running_var.clone(), n.weight, n.bias, False, 0.0, n.eps
        )
        if not n.weight.requires_grad or not torch.is_grad_enabled():
            return kept
        mean, var = n.running_mean[index], n.running_var[index]
        moved = functional.batch_norm(
            x[:, index], mean, var, n.weight[index], n.bias[index], True, n.momentum or 0.1, n.eps
        )
        with torch.no_grad():
            n.running_mean[index], n.running_var[index] = mean, var
        return kept.index_copy(1, index, moved)

    return forward


def _convolutions(model: nn.Module) -> dict[str, Any]:
    return {name: m for name, m in model.named_modules() if isinstance(m, probe.CONVS)}


def _checked(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    convolutions, out = _convolutions(model), {}
    for name, mask in masks.items():
        if name not in convolutions:
            raise ValueError(f"masks: {name!r} is no convolution of the model; there are {', '.join(convolutions)}")
        module = convolutions[name]
        if module.transposed:
            raise ValueError(f"masks: {name!r} is a transposed convolution, which TGD does not retrain yet")
        if mask.dtype != torch.bool or mask.shape != (module.out_channels,):
            raise ValueError(
                f"masks: {name}: expected {module.out_channels} booleans, got {mask.dtype} of shape {tuple(mask.shape)}"
            )
        out[name] = mask.to(module.weight.device)
    return out


def norms_after(model: nn.Module) -> dict[str, str]:
    """Convolution name -> name of the batch normalisation that follows it (see `TGD`)."""
    out, last = {}, None
    for name, module in model.named_modules():
        if isinstance(module, probe.CONVS):
            last = (name, int(module.out_channels))
        elif isinstance(module, probe.BATCHNORMS) and last is not None and module.num_features == last[1]:
            out[last[0]], last = name, None
    return out


def _largest(parts: list[kse.Components]) -> kse.Components:
    stacked = torch.stack([p.kse for p in parts])
    best = stacked.argmax(dim=0, keepdim=True)

    def take(name: str) -> Tensor:
        return torch.stack([getattr(p, name) for p in parts]).gather(0, best)[0]

    value = stacked.max(dim=0).values
    return kse.Components(take("sparsity"), take("entropy"), torch.where(value.isinf(), 1.0, value))


def _along(rows: Tensor, tensor: Tensor) -> Tensor:
    """`rows` (C,) shaped to run along the first axis of `tensor`."""
    return rows.reshape([-1] + [1] * (tensor.ndim - 1)) if tensor.ndim else rows.any()


def _bits(tensor: Tensor) -> Tensor:
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.detach().contiguous().view(whole[tensor.element_size()])
