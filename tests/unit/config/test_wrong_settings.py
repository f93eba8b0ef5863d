"""What is wrong in a configuration is named in one line: file, key, value and what is allowed."""

from __future__ import annotations

import math

import pytest

from tgdpet.config.loading import load_config
from tgdpet.config.schema import ConfigError

NETWORKS = {
    "v1-net": {"method": "train", "data": "v1"},
    "TGD-net": {"method": "tgd", "base": "v1-net", "data": "adapt"},
    "TGD-N2N": {"method": "tgd", "base": "TGD-net", "data": "n2n"},
}


def tgd(
    data: str, base: str, accumulate: bool = False, **more: dict[str, str]
) -> dict[str, dict[str, object]]:
    entry = {"method": "tgd", "data": data, "base": base, "accumulate": accumulate}
    return {"networks": {**NETWORKS, "n": entry, **more}}


def finetune(**keys: object) -> dict[str, dict[str, dict[str, object]]]:
    entry = {"method": "finetune", "data": "adapt", "base": "v1-net", **keys}
    return {"networks": {**NETWORKS, "n": entry}}


WRONG = [
    # raw configuration, then the words its error must hold: key, value, what is allowed
    ({"sede": 1}, ["'sede'", "did you mean 'seed'"]),
    ({"train": {"epoch": 3}}, ["train.epoch", "did you mean 'epochs'"]),
    (
        {"networks": {"v1-net": {"methd": "tgd"}}},
        ["networks.v1-net.methd", "did you mean 'method'"],
    ),
    ({"seed": "7"}, ["seed", "'7'", "whole number"]),
    ({"seed": True}, ["seed", "True", "whole number"]),
    ({"seed": 1.5}, ["seed", "1.5", "whole number"]),
    ({"device": "gpu"}, ["device", "'gpu'", "auto, cpu, cuda"]),
    ({"grid": 3}, ["grid", "mapping", "3"]),
    ({"grid": {"shape": [64, 64]}}, ["grid.shape", "3 values", "2"]),
    ({"grid": {"shape": 64}}, ["grid.shape", "a list", "64"]),
    ({"grid": {"voxel_mm": [4, 4, 0]}}, ["grid.voxel_mm[2]", "0", "> 0"]),
    ({"sampling": {"levels_s": []}}, ["sampling.levels_s", "at least one"]),
    ({"sampling": {"levels_s": [30, 700]}}, ["sampling.levels_s[1]", "700 s", "600 s"]),
    ({"sampling": {"levels_s": [30, 600]}}, ["sampling.levels_s[1]", "less than"]),
    ({"sampling": {"levels_s": [30, 30]}}, ["sampling.levels_s", "twice"]),
    ({"sampling": {"online_s": 601}}, ["sampling.online_s", "601 s"]),
    ({"simulation": {"scan_s": math.nan}}, ["simulation.scan_s", "nan", "finite"]),
    ({"simulation": {"scan_s": math.inf}}, ["simulation.scan_s", "inf", "finite"]),
    ({"train": {"learning_rate": "1e-3"}}, ["train.learning_rate", "'1e-3'", "1.0e-3"]),
    ({"train": {"patch": 200}}, ["train.patch", "200", "grid.shape"]),
    ({"protocols": {"v1": {}}}, ["protocols", "'v2'", "missing"]),
    ({"protocols": {"v1": {}, "v2": {}, "v3": {}}}, ["protocols.v3", "v1 and v2"]),
    (
        {"protocols": {"v1": {"post_fwhm_mm": 51}, "v2": {}}},
        ["protocols.v1.post_fwhm_mm", "51", ">= 0 and <= 50"],
    ),
    (
        {"protocols": {"v1": {"post_fwhm_mm": [9.0, 9.0]}, "v2": {}}},
        ["protocols.v1.post_fwhm_mm", "3 values", "2"],
    ),
    ({"protocols": {"v1": {"post_fwhm_mm": True}, "v2": {}}}, ["post_fwhm_mm", "True"]),
    ({"results": ""}, ["results", "''", "letters"]),
    ({"results": "my results"}, ["results", "'my results'", "letters"]),
    ({"results": "r{x}"}, ["results", "'r{x}'", "letters"]),
    ({"results": "-r"}, ["results", "'-r'", "letters"]),
    ({"studies": "a;b.tsv"}, ["studies", "'a;b.tsv'", "letters"]),
    ({"score": {"drop_phi": [0.3, 0.3000001]}}, ["score.drop_phi", "once"]),
    ({"score": {"drop_phi": [0.0, 0.3]}}, ["score.drop_phi", "not 0"]),
    ({"networks": {"a\n": {}}}, ["networks.a", "letters"]),
    ({"networks": {"net": {}, "Net": {}}}, ["networks", "net and Net", "rename"]),
    (
        {
            "networks": {
                "v1-net": {},
                "n": {**NETWORKS["TGD-net"], "method": "finetune", "batchnorm": "per_channel"},
            }
        },
        ["networks.n.batchnorm", "'per_channel'", "eval or train"],
    ),
    ({"networks": {"a b": {}}}, ["networks.a b", "letters"]),
    ({"networks": {"input": {}}}, ["networks.input", "taken"]),
    ({"networks": {"n": {"phi": 1.2}}}, ["networks.n.phi", "1.2", ">= 0 and <= 1"]),
    ({"networks": {"n": {"phi": -0.1}}}, ["networks.n.phi", "-0.1", ">= 0 and <= 1"]),
    ({"networks": {"n": {"weights": "a b"}}}, ["networks.n.weights", "'a b'", "letters"]),
    (
        {"networks": {"n": {"weights": "a", "data": "n2n"}}},
        ["networks.n.weights", "'a'", "n2n", "remove"],
    ),
    (finetune(weights="a"), ["networks.n.weights", "'a'", "'finetune'", "belongs to train"]),
    ({"networks": {"n": {"base": "x"}}}, ["networks.n.base", "'x'", "starts from scratch"]),
    ({"networks": {"n": {"data": "adapt"}}}, ["networks.n.data", "'adapt'", "v1 or v2 or n2n"]),
    *[
        (
            {"networks": {"n": {"method": "finetune", "data": "adapt", "base": "x", key: value}}},
            [f"networks.n.{key}", f"{value!r}", "'finetune'", "belongs to tgd"],
        )
        for key, value in [
            *(("phi", 0.5), ("fraction", 0.5), ("flow", "layer"), ("mask", "l1")),
            *(("keep_blocks", 2), ("accumulate", True)),
        ]
    ],
    *[
        (
            finetune(method="tgd", **{key: value}),
            [f"networks.n.{key}", f"{value!r}", "'tgd'", "belongs to finetune"],
        )
        for key, value in [("blocks", 8), ("penalty", "ewc"), ("strength", 1.0), ("replay", 0.1)]
    ],
    *[
        (
            {"networks": {"n": {key: value}}},
            [f"networks.n.{key}", f"{value!r}", "'train'", "finetune"],
        )
        for key, value in [("batchnorm", "train"), ("penalty", "lwf"), ("replay", 1.0)]
    ],
    (finetune(penalty="ewk"), ["networks.n.penalty", "'ewk'", "none, ewc, l2sp, lwf"]),
    (finetune(mask="l2"), ["networks.n.mask", "'l2'", "kse, l1, random"]),
    (finetune(replay=1.2), ["networks.n.replay", "1.2", "<= 1"]),
    (finetune(strength=0.5), ["networks.n.strength", "0.5", "penalty is 'none'"]),
    (finetune(penalty="l2sp", strength=-1.0), ["networks.n.strength", "-1.0", ">= 0"]),
    (finetune(penalty="ewc", data="n2n"), ["networks.n.strength", "missing", "n2n"]),
    ({"networks": {"n": {"method": "tgd", "data": "adapt"}}}, ["networks.n.base", "missing"]),
    (
        tgd(data="adapt", base="v1-net", accumulate=True),
        ["networks.n.accumulate", "true", "'v1-net'", "made by tgd"],
    ),
    (
        tgd(
            data="adapt",
            base="FT",
            FT={"method": "finetune", "data": "adapt", "base": "v1-net"},
            accumulate=True,
        ),
        ["networks.n.accumulate", "true", "'FT'", "made by tgd"],
    ),
    (finetune(accumulate=True), ["networks.n.accumulate", "belongs to tgd"]),
    (
        finetune(method="tgd", fraction_of="alive"),
        ["networks.n.fraction_of", "'alive'", "needs a fraction"],
    ),
    ({"train": {"log_old": True}}, ["train.log_old", "belongs to adapt"]),
    ({"online": {"log_old": True}}, ["online.log_old", "belongs to adapt"]),
    (tgd(data="v1", base="v1-net"), ["networks.n.data", "adapt or n2n"]),
    (tgd(data="adapt", base="v1net"), ["networks.n.base", "'v1net'", "did you mean 'v1-net'"]),
    (tgd(data="n2n", base="TGD-N2N"), ["networks.n.base", "'TGD-N2N'", "one study"]),
    (tgd(data="n2n", base="n"), ["circle", "n <- n"]),
    (
        tgd(data="adapt", base="m", m={"method": "tgd", "data": "adapt", "base": "n"}),
        ["circle", "n <- m <- n"],
    ),
    (
        {"networks": NETWORKS, "score": {"network": "v1-nt"}},
        ["score.network", "'v1-nt'", "did you mean 'v1-net'"],
    ),
    ({"networks": NETWORKS, "score": {"network": "TGD-N2N"}}, ["score.network", "one study"]),
    ({"score": {"drop_phi": [0.3, 1.2]}}, ["score.drop_phi[1]", "1.2"]),
    ({"sweep": {"ph": [0.3]}}, ["sweep.ph", "did you mean 'phi'"]),
    ({"sweep": {"phi": 0.3}}, ["sweep.phi", "a list", "0.3"]),
    *[
        ({"sweep": {"phi": [0.3, phi]}}, ["sweep.phi[1]", str(phi), "> 0 and <= 1"])
        for phi in (0.0, 1.01)
    ],
    (
        {"networks": NETWORKS, "sweep": {"phi": [0.3, 0.3000001]}},
        ["sweep.phi", "0.3000001", "once"],
    ),
    (
        {"networks": NETWORKS, "sweep": {"network": "TGDnet", "phi": [0.3]}},
        ["sweep.network", "did you mean 'TGD-net'"],
    ),
    (
        {"networks": NETWORKS, "sweep": {"network": "v1-net", "phi": [0.3]}},
        ["sweep.network", "'train'", "tgd"],
    ),
    (
        {"networks": NETWORKS, "sweep": {"network": "TGD-N2N", "phi": [0.3]}},
        ["sweep.network", "'n2n'", "adapt"],
    ),
]


@pytest.mark.parametrize(("raw", "words"), WRONG, ids=lambda value: str(value)[:60])
def test_an_error_is_one_line_with_file_key_value_and_what_is_allowed(raw, words):
    with pytest.raises(ConfigError) as error:
        load_config(raw, "my.yaml")
    message = str(error.value)
    assert message.startswith("my.yaml: ")
    assert "\n" not in message
    for word in words:
        assert word in message
