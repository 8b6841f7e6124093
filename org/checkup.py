"""Is everything there to run: each thing that a run needs, looked at, with what is wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from org.config import Config, ConfigError, load_config
from org.lab import LabError, exclusive
from org.opening import device_names
from trainer.corpus import CorpusError, open_corpus
from trainer.setting import Setting, default_cache

NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "lustre", "glusterfs")
FREE_DISK_GB = 2.0
ENDPOINT_SECONDS = 10.0


class Finding(NamedTuple):
    """One thing that was looked at: its name, whether it will do, and what was found."""

    name: str
    ok: bool
    text: str


def checkup(config_path: Path, lab: Path | None) -> Iterator[Finding]:
    """Look at everything in turn; nothing is changed, and no finding stops the next."""
    try:
        config = load_config(config_path)
    except ConfigError as error:
        yield Finding("config", False, str(error))
        return
    yield Finding("config", True, f"{config_path} is valid")
    yield from _devices(config)
    yield from _models(config)
    yield _git()
    yield from _folder(lab or config.lab)
    yield _memory()


def _devices(config: Config) -> Iterator[Finding]:
    try:
        names = device_names(config)
    except LabError as error:
        yield Finding("device", False, str(error))
        return
    setting = config.setting(has_gpu=names[0].startswith("cuda"))
    text = (
        f"{', '.join(names)}: profile {setting.profile}, {setting.seconds:g} s a trial,"
        f" {setting.threads} thread{'s' if setting.threads > 1 else ''},"
        f" context {setting.sequence_length}, vocabulary {setting.vocabulary}"
    )
    yield Finding("device", True, text)
    yield _corpus(setting)


def _corpus(setting: Setting) -> Finding:
    try:
        corpus = open_corpus(setting.corpus, default_cache())
    except CorpusError as error:
        return Finding("corpus", False, str(error))
    return Finding("corpus", True, f"{corpus.name}, prepared under {default_cache()} at first use")


def _models(config: Config) -> Iterator[Finding]:
    """Each endpoint once, with all the roles that need it."""
    for choice in dict.fromkeys(config.model_of(role) for role in config.roles.everyone):
        roles = ", ".join(r.name for r in config.roles.everyone if config.model_of(r) == choice)
        if choice.kind != "openai":
            yield Finding("model", True, f"{choice.name} for {roles}")
            continue
        from roles.chat import endpoint_reachable

        key = os.environ.get("OPENAI_API_KEY")
        problem = endpoint_reachable(choice.base_url, key, ENDPOINT_SECONDS)
        yield Finding("model", problem is None, problem or f"{choice.name} answers, for {roles}")


def _git() -> Finding:
    found = shutil.which("git")
    return Finding("git", found is not None, found or "git is not installed; kept versions need it")


def _folder(folder: Path) -> Iterator[Finding]:
    """The lab's folder, or the nearest one above it that is there already."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        if there == folder.absolute():
            with exclusive(folder):
                pass
        writable = there.is_dir() and os.access(there, os.W_OK)
        text = f"{folder}" if writable else f"{there} cannot be written"
    except LabError as error:
        writable, text = False, str(error)
    yield Finding("lab", writable, text)
    kind = _file_system(there)
    if kind in NETWORK_FILE_SYSTEMS:
        text = f"the lab would lie on {kind}; SQLite's WAL needs a local disk: choose another --lab"
        yield Finding("disk", False, text)
        return
    free_gb = psutil.disk_usage(str(there)).free / 2**30
    enough = free_gb >= FREE_DISK_GB
    yield Finding("disk", enough, f"{free_gb:.1f} GB free{'' if enough else ', 2 are wanted'}")


def _file_system(path: Path) -> str:
    """The type of the file system that holds a path: the longest mount point above it."""
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    above = (mounts[folder] for folder in (path, *path.parents) if folder in mounts)
    return next(above, "")


def _memory() -> Finding:
    free_gb = psutil.virtual_memory().available / 2**30
    return Finding("memory", free_gb >= 1, f"{free_gb:.1f} GB free")
