"""Worker processes: polite, without a GPU, and imported once for all the pools of a job."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor

LOW_PRIORITY = 10  # workers are polite to whoever else uses the machine
# What workers need is imported once, in the server that they are forked from: 3 s for a job, not for every stage.
PRELOADED = ["tasks.crop", "tasks.upscale", "tasks.shard", "imaging.toon"]


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of so many processes; it must not be handed closures, and its functions must be a module's own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=settle_in)


def settle_in() -> None:
    """Make a worker of this process: low priority, one thread a codec, no GPU, and an end with its parent's."""
    os.nice(LOW_PRIORITY)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import cv2
    from PIL import AvifImagePlugin

    cv2.setNumThreads(1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only workers settle in"
    parent.join()
    os._exit(1)
