import subprocess
import sys


def test_peak_memory_is_that_of_the_process_and_not_of_the_one_that_started_it():
    held = bytearray(b"1") * (700 * 2**20)  # the system's own count of a new process would begin with it
    code = "from medmm_lib.device import memory_mib; print(memory_mib()['peak_mib'])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 50 < float(told) < len(held) / 2**20
