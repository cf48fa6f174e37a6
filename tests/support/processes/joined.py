"""A process that joins the others of its run, says how many it found, and leaves with them.

Run as a script, with the flags of `processes.start` or what a launcher sets in the environment.
"""

from __future__ import annotations

import sys

import jax

from dreamer_jax.cluster.processes import start
from dreamer_jax.errors import UserError

if __name__ == "__main__":
    coordinator, processes, process = sys.argv[1:] or ("", "0", "-1")
    try:
        lifeline = start(coordinator, int(processes), int(process), 30)
    except UserError as error:
        sys.exit(str(error))
    visible = jax.config.read("jax_cuda_visible_devices")
    print(f"joined {jax.process_index()}/{jax.process_count()}, devices {visible}", flush=True)
    if lifeline is not None:
        lifeline.leave()
