import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
import iqattack

folder = Path(sys.argv[1])
images = iqattack.ImageSet.from_folder(folder).limit(int(sys.argv[2]))
# As many searches are open as fill a batch, so the batch size is fixed: both runs fill it.
iqattack.attack(images, "builtin", queries=6, batch=16, out=folder / f"run-{sys.argv[2]}")
status = Path("/proc/self/status").read_text()
print(status.split("VmHWM:")[1].split()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc to tell the peak")
def test_memory_does_not_grow_with_the_number_of_images(kit, tmp_path):
    kit.write_set(tmp_path, [(96, 96)] * 24)
    for number in range(24, 240):
        (tmp_path / f"{number:03}.png").hardlink_to(tmp_path / f"{number % 24:03}.png")

    def peak_kib(images):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(images)]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        reported = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
        return int(reported.stdout)

    assert peak_kib(240) < 1.1 * peak_kib(24)
