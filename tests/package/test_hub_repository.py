"""Pushing to and loading from a repository, with the real client against a stand-in for the Hub on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import crossattn3d
from support.hub_server import HubServer

BEFORE = """
import sys, torch
from crossattn3d import UCANet
from crossattn3d.hub import from_pretrained, push_to_hub
torch.manual_seed(3)
net = UCANet(1, 3, (2, 3, 4)).eval()
"""


def run(hub: HubServer, home: Path, script: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A script in a process of its own, since the client reads where the Hub is when it is imported."""
    source = str(Path(crossattn3d.__file__).parents[1])
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_TOKEN": "hf_test", "HF_HUB_DISABLE_XET": "1"}
    own |= {"PYTHONPATH": source, "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        [sys.executable, "-c", BEFORE + script],
        capture_output=True,
        text=True,
        env=os.environ | own | variables,
        check=False,
    )


@pytest.mark.slow
def test_there_and_back(tmp_path: Path) -> None:
    script = """
print(push_to_hub(net, "someone/liver", card="Trained on phantoms.", private=True))
again = from_pretrained("someone/liver")
assert type(again) is UCANet and not again.training
for name, value in net.state_dict().items():
    torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
"""
    with HubServer() as hub:
        done = run(hub, tmp_path, script)
        assert done.returncode == 0, done.stderr[-3000:]
        files = hub.files["someone/liver"]
        assert done.stdout.split() == [f"{hub.address}/someone/liver/commit/{hub.commit_of('someone/liver')}"]
        assert sorted(files) == ["README.md", "config.json", "model.safetensors"]
        assert hub.private["someone/liver"]
        assert b"from_pretrained('someone/liver')" in files["README.md"]
        assert b"Trained on phantoms." in files["README.md"]
        assert hub.tokens >= {"Bearer hf_test"}

        # A card that somebody has edited there stays, until another is given.
        commit = hub.commit_of("someone/liver")
        files["README.md"] = b"# Edited\n"
        done = run(hub, tmp_path, 'push_to_hub(UCANet(1, 2, (2, 3)), "someone/liver")')
        assert done.returncode == 0, done.stderr[-3000:]
        assert files["README.md"] == b"# Edited\n"
        assert b'"out_channels": 2' in files["config.json"]

        # Nothing but what is needed is fetched; the commit of before is in the client's cache, even without a network.
        hub.requests.clear()
        files["pytorch_model.bin"] = b"\x80\x04."
        done = run(hub, tmp_path, 'print(from_pretrained("someone/liver").out_channels)')
        assert done.stdout.split() == ["2"], done.stderr[-3000:]
        assert not [line for line in hub.requests if "pytorch_model" in line or "README" in line]
    script = f'print(from_pretrained("someone/liver", revision="{commit}").out_channels)'
    done = run(hub, tmp_path, script, HF_HUB_OFFLINE="1")
    assert done.stdout.split() == ["3"], done.stderr[-3000:]


@pytest.mark.slow
def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    script = """
for name, options in (("someone/nothing", {}), ("someone/liver", {"revision": "v9"}), ("some one/liver", {})):
    try:
        from_pretrained(name, **options)
    except ValueError as error:
        print(error)
"""
    with HubServer() as hub:
        hub.files["someone/liver"] = {"config.json": b"{}"}
        done = run(hub, tmp_path, script + "from_pretrained('someone/liver')")
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr[-3000:]
    for line, name in zip(lines, ("someone/nothing", "someone/liver", "some one/liver"), strict=True):
        assert line.startswith(f"from_pretrained: {name}: no such folder, and not available from the Hub (")
    assert "404" in lines[0]
    last = done.stderr.splitlines()[-1]
    assert "config.json: expected class and arguments of a net" in last


@pytest.mark.slow
def test_a_net_that_cannot_be_saved_makes_no_repository(tmp_path: Path) -> None:
    with HubServer() as hub:
        done = run(hub, tmp_path, "push_to_hub(torch.nn.Linear(2, 3), 'someone/linear')")
        assert "expected a UNet3d or a UCANet; got Linear" in done.stderr
        assert (hub.files, hub.requests) == ({}, [])


@pytest.mark.slow
def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path) -> None:
    with HubServer() as hub:
        for call in ("push_to_hub(net, 'a/b')", "from_pretrained('a/b')"):
            done = run(hub, tmp_path, f"sys.modules['huggingface_hub'] = None\n{call}")
            assert "needs huggingface_hub" in done.stderr
            assert 'pip install ".[hub]" in a clone of crossattn3d' in done.stderr
