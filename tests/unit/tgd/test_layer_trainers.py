"""Trainers of other libraries, as they are: Lightning, MONAI, Accelerate."""

from __future__ import annotations

import importlib.util
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from tgd_cases import bits, image, kept, moved, random_masks, same_bits, small
from tgdpet import tgd

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("default"),  # of those libraries, not of ours
]


@pytest.fixture
def model():
    return small()


class Pairs(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return {"image": image(1, seed=i)[0], "label": torch.zeros(3, 16, 16)}


def lightning_module(lightning, model, parameters):
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = model

        def training_step(self, batch, index):
            return functional.mse_loss(self.network(batch["image"]), batch["label"])

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(parameters(), lr=0.01, weight_decay=0.1)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    return Module()


def trainer(lightning, path, **options):
    return lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=path,
        **options,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_clip_val": 0.5},
        {"accumulate_grad_batches": 2, "precision": "bf16-mixed"},
    ],
    ids=["clipped", "accumulated"],
)
def test_lightning(model, tmp_path, options):
    lightning = pytest.importorskip("lightning")
    before, masks = bits(model), random_masks(model)
    module = lightning_module(lightning, model, model.parameters)
    with tgd.TGD(model, masks, example_input=image(1)) as layer:
        trainer(lightning, tmp_path, **options).fit(module, DataLoader(Pairs(), 2))
        assert layer.unchanged()
    assert kept(model, before, masks)
    assert moved(model, before, masks)


def example_of(root):
    path = root / "examples/lightning_callback.py"
    spec = importlib.util.spec_from_file_location("lightning_callback", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lightning_by_the_callback_of_the_examples(root, tmp_path):
    lightning = pytest.importorskip("lightning")
    example = example_of(root)
    torch.manual_seed(0)
    module = example.Denoiser()
    before = bits(module)
    callback = example.RetrainRedundant(torch.zeros(1, 1, 16, 16))
    trainer(lightning, tmp_path, callbacks=[callback]).fit(module, example.pairs(0.1, seed=1))
    now = bits(module)
    masks = {f"network.{name}": mask for name, mask in callback.tgd.masks.items()}
    assert not same_bits(now, before)
    for name, mask in masks.items():
        same = (now[f"{name}.weight"] == before[f"{name}.weight"]).reshape(len(mask), -1).all(1)
        assert torch.equal(~same, mask)
    untouched = {n for n in now if n.startswith(("network.5", "network.3.running"))}
    assert all(torch.equal(now[n], before[n]) for n in untouched)
    # What Lightning saved on its way is a plain network's.
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    state = torch.load(checkpoint, weights_only=False)["state_dict"]
    assert example.Denoiser().load_state_dict(state)


def test_monai(model):
    engines = pytest.importorskip("monai.engines")
    pytest.importorskip("ignite")
    before, masks = bits(model), random_masks(model)
    with tgd.TGD(model, masks) as layer:
        engine = engines.SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=2,
            train_data_loader=DataLoader(Pairs(), 2),
            network=model,
            optimizer=torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1),
            loss_function=nn.MSELoss(),
        )
        engine.run()
        assert layer.unchanged()
    assert kept(model, before, masks)
    assert moved(model, before, masks)


def test_accelerate(model):
    accelerate = pytest.importorskip("accelerate")
    before, masks = bits(model), random_masks(model)
    accelerator = accelerate.Accelerator(
        cpu=True, mixed_precision="bf16", gradient_accumulation_steps=2
    )
    with tgd.TGD(model, masks, example_input=image(1)) as layer:
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
        prepared, optimizer, batches = accelerator.prepare(model, optimizer, DataLoader(Pairs(), 2))
        for _ in range(2):
            for batch in batches:
                with accelerator.accumulate(prepared):
                    loss = functional.mse_loss(prepared(batch["image"]).float(), batch["label"])
                    accelerator.backward(loss)
                    accelerator.clip_grad_norm_(prepared.parameters(), 1.0)
                    optimizer.step()
                    optimizer.zero_grad()
        assert layer.unchanged()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            accelerator.free_memory()
    assert kept(model, before, masks)
    assert moved(model, before, masks)
