"""Where arithmetic runs, and how."""

import subprocess
import sys

import pytest
import torch

from tgdpet.runtime import device


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
