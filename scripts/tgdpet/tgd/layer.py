"""Targeted gradient descent (the paper's section 2.1): retrain redundant kernels, keep every other
bit.

    with TGD(model, phi=0.3, example_input=example) as tgd:  # or TGD(model, masks)
        optimizer = torch.optim.Adam(tgd.parameters(), lr=1e-4)
        for x, y in batches:
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()

An average of the weights (EMA, SWA) keeps the useful bits only as far as its own arithmetic does:
the average of equal values may round, and turns -0.0 into 0.0. Call `tgd.restore(average)`
(`average.module` of torch's AveragedModel) after each update, or once at the end.

What stays is the useful kernels' own parameters, and every buffer. They still read feature maps
that the retrained kernels change, so the network's old behaviour is kept approximately, not
exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from .alive import alive_from
from .attachment import Attachment, check_free
from .connectivity import connections
from .layer_kinds import CONVS
from .masks import checked_mask, mask_table
from .scoring import components_from, select
from .sparse_backward import GATHERS
from .targets import check_state

FRACTIONS_OF = ("all", "alive")
FLOWS = ("parameter", "layer")
BATCHNORM_MODES = ("eval", "per_channel", "train")


class TGD:
    """Attach targeted gradient descent to a model; a context manager, or call `detach` at the end.

    Whoever steps an optimizer with parameters of the model: every useful bit is put back at once.

    - `masks`: module name -> bool (out channels,), True = targeted, may be updated; modules not
      named are frozen. Or `phi` (a KSE) or `fraction` (of all kernels, or of those "alive" beside
      all dead ones: `fraction_of`), as in `select`, with an `example_input`: kernels are scored and
      chosen here; `masks`, `scores` and `alive` say how.
    - `flow`: "parameter" (the paper's eq. 4: the true gradient flows, only the targets are
      updated) or "layer" (its Fig. 1: dL/dY of useful channels is zeroed after each convolution
      and its BN).
    - `batchnorm`: "eval" (running statistics for all channels), "per_channel" (batch statistics for
      the targets only), "train". Holds while the model is in train mode, whatever calls
      `model.train()`. Instance norm that tracks statistics knows "eval" and "train".
    - `gather`: "auto", "always" or "never" leave frozen channels out of the convolutions' backward
      pass (`sparse_backward`).
    - `example_input`: used to find the norm layer that follows each convolution; without it the
      first forward is, which torch.compile cannot trace. `unused`: as in `score_kernels`.

    A parameter with several owners moves only where all of them allow it; `requires_grad` of what
    the masks name is switched on until the end. Raises ValueError naming module, expected and given
    for masks that do not fit; a model is then as it was.
    """

    def __init__(
        self,
        model: nn.Module,
        masks: Mapping[str, Tensor] | None = None,
        *,
        phi: float | None = None,
        fraction: float | None = None,
        fraction_of: str = "all",
        flow: str = "parameter",
        batchnorm: str = "eval",
        gather: str = "auto",
        example_input: Any = None,
        unused: Collection[str] = (),
    ) -> None:
        _check_option("fraction_of", fraction_of, FRACTIONS_OF)
        _check_option("flow", flow, FLOWS)
        _check_option("batchnorm", batchnorm, BATCHNORM_MODES)
        _check_option("gather", gather, GATHERS)
        check_state(model)
        check_free(model)

        self.model = model
        self.flow = flow
        self.batchnorm = batchnorm
        self.scores: dict[str, Tensor] = {}
        self.alive: dict[str, Tensor] = {}

        if masks is None:
            masks = self._choose(phi, fraction, fraction_of, example_input, unused)
        elif phi is not None or fraction is not None:
            raise ValueError("masks: expected masks, or phi or fraction to choose them, got both")

        self.masks = {name: checked_mask(model, name, mask) for name, mask in masks.items()}

        self._attachment = Attachment(model, self.masks, flow, batchnorm)
        self._attachment.attach(gather, example_input)

    # In training.

    def parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that hold anything targeted, for the optimizer; their useful part is kept
        by `step`.
        """
        parameters = dict(self.model.named_parameters())

        for name in self._attachment.targets:
            yield parameters[name]

    def train_mode(self) -> None:
        """`model.train()`; norm layers keep to `batchnorm` in any case."""
        self.model.train()

    def step(self, optimizer: torch.optim.Optimizer, *, scaler: Any = None) -> None:
        """Step the optimizer (through a gradient scaler if given) and put every useful bit back.

        An optimizer of torch needs no such call: its own `step` does the same.
        """
        n_restored = self._attachment.n_restored

        if scaler is not None:
            scaler.step(optimizer)
        else:
            optimizer.step()

        if self._attachment.n_restored == n_restored:
            self.restore()

    def restore(self, model: nn.Module | None = None) -> None:
        """Put every useful parameter, and every buffer that is to stay, back to its bits at the
        start.

        `model`: another model of the same make, such as an average of the weights; default: the
        model itself.
        """
        if model is None or model is self.model:
            self._attachment.state.restore()
        else:
            self._attachment.state.restore_other(model)

    def unchanged(self, model: nn.Module | None = None) -> bool:
        """Whether everything useful has the bits of the start, compared as integers; `model` as in
        `restore`.

        Buffers that forward passes have moved since the last step are put back before.
        """
        if model is not None and model is not self.model:
            return self._attachment.state.unchanged_other(model)

        return self._attachment.unchanged()

    def counts(self) -> dict[str, int]:
        """Kernels and parameters of the model, how many of them are targeted, and of the targeted
        kernels those alive, where that is known.
        """
        convs = [module for module in self.model.modules() if isinstance(module, CONVS)]
        targeted = self._attachment.targets.values()

        counts = {
            "kernels_total": sum(conv.out_channels for conv in convs),
            "kernels_retrained": sum(int(mask.sum()) for mask in self.masks.values()),
            "parameters_total": sum(p.numel() for p in self.model.parameters()),
            "parameters_retrained": sum(entries.count for entries in targeted),
        }
        if self.alive:
            counts["kernels_retrained_alive"] = sum(
                int((mask.cpu() & self.alive[name]).sum())
                for name, mask in self.masks.items()
                if name in self.alive
            )

        return counts

    def __str__(self) -> str:
        """A table of the modules: kernels, how many are retrained, alive ones among these, KSE."""
        counts = self.counts()
        title = (
            f"TGD retrains {counts['kernels_retrained']} of {counts['kernels_total']} kernels, "
            f"{counts['parameters_retrained']} of {counts['parameters_total']} parameters "
            f"(flow {self.flow}, batchnorm {self.batchnorm})"
        )
        return f"{title}\n{mask_table(self.masks, self.scores, self.alive)}"

    # At the end.

    def detach(self) -> None:
        """Remove every hook and check the bits; RuntimeError if a useful one moved (by other means
        than an optimizer of torch).

        Nothing is checked if the model never ran: nothing was trained, as when a finished training
        is resumed.
        """
        try:
            moved = self._may_have_moved and not self.unchanged()
        finally:
            self._attachment.release()

        if moved:
            raise RuntimeError(
                "useful kernels have changed: something other than an optimizer of torch has "
                "written to them; call TGD.restore() after it"
            )

    def __enter__(self) -> TGD:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.detach()
            return

        # A step may have been interrupted half-way.
        try:
            if self._may_have_moved:
                self.restore()
        finally:
            self._attachment.release()

    def __deepcopy__(self, memo: dict[int, Any]) -> TGD:
        """Itself: what holds both a model and its TGD may be copied; the copied model is a plain
        one.
        """
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            "TGD: is attached to a network of this process and cannot be sent or saved; send the "
            "network, which goes as a plain one, and attach TGD there"
        )

    def _choose(
        self,
        phi: float | None,
        fraction: float | None,
        fraction_of: str,
        example_input: Any,
        unused: Collection[str],
    ) -> dict[str, Tensor]:
        """Masks by phi or fraction of the scores, which are kept beside what is alive."""
        if (phi is None) == (fraction is None):
            raise ValueError("masks: expected masks, or either phi or fraction to choose them")
        if fraction is None and fraction_of != "all":
            raise ValueError(f"fraction_of: {fraction_of!r} needs a fraction, got phi")
        if example_input is None:
            raise ValueError("example_input: is needed to score the kernels, got None")

        connected = connections(self.model, example_input, unused=unused)
        components = components_from(self.model, connected)
        self.scores = {name: parts.kse for name, parts in components.items()}
        self.alive = alive_from(self.model, example_input, connected)

        if fraction is None:
            return select(self.scores, 0.0 if phi is None else phi)

        alive = self.alive if fraction_of == "alive" else None
        return select(self.scores, fraction=fraction, alive=alive)

    @property
    def _may_have_moved(self) -> bool:
        """Whether it is attached, and the model ran."""
        return self._attachment.attached and self._attachment.norms_known


def _check_option(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")
