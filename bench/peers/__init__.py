"""The peers, and how to ask them: each script runs in an environment of its own, which `make bench-peers` builds."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Peer:
    """Its name, its script here, and the environment under .peers/ whose interpreter runs it."""

    title: str
    script: str
    environment: str


class PeerFailed(SystemExit):
    """A peer that did not come to an answer; where nobody catches it, the bench ends with the sentence."""


PEERS = {
    "plain": Peer("plain PyTorch ResNet-18", "plain", "lightning_keras"),
    "lightning": Peer("Lightning", "with_lightning", "lightning_keras"),
    "fastai": Peer("fastai", "with_fastai", "fastai"),
    "keras": Peer("Keras on PyTorch", "with_keras", "lightning_keras"),
}


def asked(name: str, *words: str) -> dict[str, Any] | None:
    """What a peer answers, or None where its environment has not been built. It sees src/ and bench/."""
    peer = PEERS[name]
    python = ROOT / ".peers" / peer.environment / "bin" / "python"
    if not python.exists():
        return None
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("src", "bench"))
    command = [str(python), "-W", "ignore", str(HERE / f"{peer.script}.py"), *words]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": paths, "KERAS_BACKEND": "torch"}
    )
    if done.returncode:
        raise PeerFailed(f"{peer.title} failed")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
