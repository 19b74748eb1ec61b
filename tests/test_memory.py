"""That reading costs no memory of the kernel's, and that cycles are looked for rarely: seen in real processes."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

import rtbench

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators keep what is freed")
READ_BYTES = 2**18  # as asyncio reads
FAULTS_OF_100_READS = f"""
import resource, socket
from rtbench.system import memory
KEEP
here, there = socket.socketpair()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    here.send(b"x")
    there.recv({READ_BYTES})
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(first: str) -> int:
    program = FAULTS_OF_100_READS.replace("KEEP", first)
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)


@glibc
@pytest.mark.process
def test_a_read_into_a_new_buffer_faults_no_page() -> None:
    assert faults("") >= 100  # what it is for: without it this test would say nothing
    assert faults("memory.prepare()") < 10


LOOKS_FOR_CYCLES = """
import gc
from rtbench.system import memory
memory.prepare()
before = gc.get_stats()[0]["collections"]
kept = [[] for _ in range(100_000)]
print(gc.get_stats()[0]["collections"] - before)
"""


@pytest.mark.process
def test_a_process_looks_for_cycles_once_in_ten_thousand_objects() -> None:
    def looks(program: str) -> int:
        return int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)

    assert looks(LOOKS_FOR_CYCLES.replace("memory.prepare()", "")) > 50  # what it is for
    assert 1 <= looks(LOOKS_FOR_CYCLES) <= 10


@glibc
@pytest.mark.parametrize("transport", ["websocket", pytest.param("tcp", marks=pytest.mark.long)])
@pytest.mark.process
def test_no_process_of_a_trial_pays_for_memory_at_each_read(transport: str) -> None:
    def measured(rate: int) -> tuple[int, int]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
        result = rtbench.run(transport=transport, trials=1, subscribers=1, rate=rate, warmup="0s")
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before, int(
            result.summary[transport]["delivered"]
        )

    few_faults, few = measured(10)
    many_faults, many = measured(1000)
    assert many > 10 * few
    assert (many_faults - few_faults) / (many - few) < 0.5
