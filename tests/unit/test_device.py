"""What computes."""

import pytest
import torch

from sensorium.device import chosen_device, multiplies_bfloat16


def test_an_unknown_device_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'gpu' is not one of auto, cpu, cuda"):
        chosen_device("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused_with_the_remedy():
    assert chosen_device("auto") == "cpu"
    with pytest.raises(ValueError, match=r"torch sees no GPU: install .* or set device to 'auto'"):
        chosen_device("cuda")


def test_a_cpu_is_good_at_bfloat16_when_it_has_matrix_units_for_it(tmp_path):
    cpu, cpuinfo = torch.device("cpu"), tmp_path / "cpuinfo"
    assert not multiplies_bfloat16(cpu, cpuinfo)
    cpuinfo.write_text("flags : fpu avx512f avx512_bf16\n")
    assert not multiplies_bfloat16(cpu, cpuinfo)
    cpuinfo.write_text("flags : fpu avx512_bf16 amx_bf16 amx_tile\n")
    assert multiplies_bfloat16(cpu, cpuinfo)
