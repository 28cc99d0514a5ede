"""Installs and starts the other relays of bench.peers. They are installed into out/peers when they are needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from relay.standin.load.generator import LoadFailed, Relay

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "out" / "peers"
# The versions with which the figures in docs/deploy.md were taken.
NODE = ("fastify@5.12.8", "ws@8.23.0", "@fastify/formbody@9", "@fastify/websocket@11")
AGENTS = ("@openai/agents@0.20.0", "@openai/agents-extensions@0.18.0", "zod@4")
PIPECAT = ("pipecat-ai[openai,websocket,silero]==1.14.0", "fastapi", "uvicorn[standard]", "python-multipart")


def _run(command: list[str], folder: Path) -> None:
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise LoadFailed(f"{' '.join(command[:3])} failed: {(made.stderr or made.stdout)[-400:]}")


def _node(name: str, packages: tuple[str, ...], program: str) -> Path:
    """Install the packages once, copy the program to them, and return the program's path."""
    folder = FOLDER / name
    if shutil.which("npm") is None:
        raise LoadFailed("npm is missing: install Node 20 or newer")
    if not (folder / "node_modules").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        _run(["npm", "install", "--no-audit", "--no-fund", *packages], folder)
    shutil.copy(HERE / program, folder / program)
    return folder / program


def passthrough() -> Relay:
    """Our own Node program of 60 lines, which passes bytes on in both directions, like Twilio's sample for Node."""
    program = _node("passthrough", NODE, "passthrough.mjs")
    return Relay(
        "node passthrough", ("node", str(program)), {"PORT": "{port}", "MODEL_URL": "{model_url}"}, "/incoming"
    )


def agents() -> Relay:
    """OpenAI's Agents SDK for JavaScript with its Twilio transport."""
    program = _node("agents", (*NODE, *AGENTS), "agents.mjs")
    environ = {"PORT": "{port}", "MODEL_URL": "{model_url}"}
    return Relay("openai agents-js", ("node", str(program)), environ, "/incoming")


def pipecat() -> Relay:
    """Pipecat with its Twilio serializer and Realtime service."""
    python = FOLDER / "pipecat" / "bin" / "python"
    if not python.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(FOLDER / "pipecat")], FOLDER)
        _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PIPECAT], FOLDER)
    environ = {"PORT": "{port}", "MODEL_URL": "{model_url}", "PYTHONPATH": ""}
    return Relay("pipecat", (str(python), str(HERE / "pipecat_relay.py")), environ, "/incoming")


PEERS = {"passthrough": passthrough, "agents": agents, "pipecat": pipecat}
