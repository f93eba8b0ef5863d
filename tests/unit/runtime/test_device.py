"""Where arithmetic runs, and how."""

import os
import subprocess
import sys

import pytest
import torch

from tgdpet.runtime import device

CPU = torch.device("cpu")


def test_numbers_that_are_too_small_to_be_normal_count_as_zero():
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot")
    tiny = torch.full((64,), 1e-30)
    assert (tiny * 1e-10 > 0).all(), "denormal numbers are at work by themselves"
    device.pick("cpu")
    assert (tiny * 1e-10 == 0).all()


def page_faults(pick):
    """Of blocks of 1 to 24 MB, each larger than any freed before (glibc keeps none), in a process
    of its own.
    """
    code = (
        "import resource, torch\n"
        f"from tgdpet.runtime import device\n{pick}\n"
        "count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "torch.ones(100); before = count()\n"
        "for megabytes in range(1, 25): torch.ones(megabytes << 18)\n"
        "print(count() - before)"
    )
    return int(
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout
    )


def test_freed_memory_is_kept(monkeypatch):
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    if not device.keep_freed():
        pytest.skip("not glibc")
    assert page_faults("device.pick('cpu')") < 0.5 * page_faults("")


def test_settings_of_malloc_from_outside_are_left_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "131072")
    assert not device.keep_freed()


def test_a_wrong_name_is_refused():
    with pytest.raises(ValueError, match="expected auto, cpu or cuda, got 'gpu'"):
        device.pick("gpu")


def test_arithmetic_leaves_torchs_compiler_on_the_disk():
    """It takes seconds to load, and every job that denoises would."""
    code = (
        "import sys\nfrom tgdpet.runtime import device\n"
        "with device.arithmetic('float32', deterministic=False):\n    pass\n"
        "print([name for name in ('torch._dynamo', 'torch._inductor') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("wanted", ["bf16", "tf32"])
def test_precision_that_the_processor_lacks_is_refused(monkeypatch, wanted):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(
        ValueError, match=f"precision: {wanted} was asked for, but this processor has no {wanted}"
    ):
        device.precision(wanted, CPU)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [("avx512_bf16", "bf16"), ("amx_bf16", "bf16"), ("bf16", "float32"), ("avx512", "float32")],
)
def test_a_processor_trains_in_bf16_where_that_is_known_to_be_faster(
    monkeypatch, capability, expected
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True})
    assert device.precision("auto", CPU) == expected
    assert device.precision("float32", CPU) == "float32"


@pytest.mark.parametrize(
    ("capability", "wanted", "expected"),
    [
        ((9, 0), "auto", "bf16"),
        ((7, 5), "auto", "float32"),
        ((8, 0), "tf32", "tf32"),
        ((8, 0), "float32", "float32"),
        ((7, 5), "bf16", None),
        ((7, 5), "tf32", None),
    ],
)
def test_precision_of_a_gpu_is_what_it_has(monkeypatch, capability, wanted, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "old GPU")
    place = torch.device("cuda")
    if expected is not None:
        assert device.precision(wanted, place) == expected
        return
    with pytest.raises(ValueError, match=f"{wanted} was asked for, but cuda: old GPU lacks it"):
        device.precision(wanted, place)


@pytest.mark.parametrize("deterministic", [False, True])
def test_arithmetic_is_set_for_the_time_of_training_only(monkeypatch, deterministic):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)

    def now():
        return (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(),
                torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark,
                os.environ.get("CUBLAS_WORKSPACE_CONFIG"))  # fmt: skip

    before = now()
    with pytest.raises(KeyError), device.arithmetic("bf16", deterministic):
        assert now() == (
            "high",
            deterministic,
            deterministic,
            not deterministic,
            ":4096:8" if deterministic else None,
        )
        raise KeyError
    assert now() == before
    with device.arithmetic("float32", False):
        assert torch.get_float32_matmul_precision() == "highest"
