"""Is everything there to run: each thing that a run needs, looked at, with what is wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from org.config import Config, ModelChoice
from org.config_reading import ConfigError, load_config
from org.figures import counted, money
from org.lab import LabError, exclusive
from org.opening import device_names, wall_of
from org.recorded import recorded_model
from roles.fit import CHARACTERS_PER_TOKEN
from roles.model import ModelError
from roles.prices import dollars
from roles.scripted import ScriptedModel
from trainer.corpus import CorpusError, training_shards
from trainer.dataset import build_dataset
from trainer.devices import available_cores, find_devices
from trainer.sandbox import explain
from trainer.setting import Setting, default_cache

# Types of file systems that other machines share, where the index of SQLite's write-ahead log,
# which is shared memory, cannot be: https://www.sqlite.org/wal.html
NETWORK_FILE_SYSTEMS = (
    *("9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs"),
    *("nfs4", "smb2", "smb3", "smbfs", "webdav"),
    *("fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
)
FREE_DISK_GB = 2.0
SHARD_GB = 0.1  # of climbmix, about
FREE_MEMORY_GB = 1.0  # for each trial at the same time
ENDPOINT_SECONDS = 10.0
SEVERAL_DESKS = (
    "with several desks a replay may read another train.py than the record, and so depart in words "
    "where nothing was changed: say desks: 1, in what is recorded too"
)


class Finding(NamedTuple):
    """One thing that was looked at: its name, whether it will do, and what was found."""

    name: str
    ok: bool
    text: str


def checkup(config_path: Path, lab: Path | None) -> Iterator[Finding]:
    """Look at everything in turn; what is wrong with one thing does not hide the next.

    Without a valid org.yaml only the machine is looked at, and the lab if its folder was given.
    The lab is left as it was; a corpus that is not prepared stays so.
    """
    config = None
    try:
        config = load_config(config_path)
        yield Finding("config", True, f"{config_path} is valid")
    except ConfigError as error:
        yield from (Finding("config", False, line) for line in str(error).splitlines())
    devices_count = 1
    if config:
        yield _train(config)
        yield from _models(config)
        if config.approval:
            how = "in the terminal of the run, or with python -m org approve and reject"
            yield Finding("approval", True, f"a person is asked before each patch is tried: {how}")
        names, finding = _devices(config)
        yield finding
        if names:
            devices_count = len(names)
            yield _corpus(config.setting(has_gpu=names[0].startswith("cuda")))
        yield _wall(config)
    yield _git()
    if folder := lab or (config and config.lab):
        yield _lab(folder)
        yield from _disks(folder)
    yield _memory(devices_count)


def _train(config: Config) -> Finding:
    """The baseline: load_config has compiled it already."""
    lines = counted(len(config.train.read_bytes().splitlines()), "line")
    return Finding("train.py", True, f"{config.train} compiles, {lines}")


# --- models -----------------------------------------------------------------------------------


def _models(config: Config) -> Iterator[Finding]:
    """Each model once, with all the roles that it answers for."""
    everyone = config.roles.everyone
    for choice in dict.fromkeys(map(config.model_of, everyone)):
        roles = ", ".join(role.name for role in everyone if config.model_of(role) == choice)
        problem, found = _model(choice)
        yield Finding("model", problem is None, problem or f"{choice.name} for {roles}{found}")
        if choice.kind == "replay" and config.desks != 1:
            yield Finding("model", True, SEVERAL_DESKS)
    yield from (Finding("dollars", False, text) for text in _too_dear(config))


def _too_dear(config: Config) -> Iterator[str]:
    """Roles that could not even be told who they are and what program.md says, and answer at length."""
    program = config.program.read_text("utf-8")
    for role in config.roles.everyone:
        choice = config.model_of(role)
        price, longest = choice.known_price, role.max_tokens or choice.max_tokens
        if config.budget.dollars is None or choice.kind != "openai" or not (price and longest):
            continue
        read = len(program + role.prompt.read_text("utf-8")) // CHARACTERS_PER_TOKEN
        if (most := dollars(price, read, longest)) > config.budget.dollars:
            yield (
                f"no call of the {role.name} fits into budget.dollars: it may cost more than"
                f" {money(most)} of {money(config.budget.dollars)}, as max_tokens is {longest:,}"
            )


def _model(choice: ModelChoice) -> tuple[str | None, str]:
    """Why a model cannot answer, or None; and what else was found."""
    if choice.kind == "playbook":
        return None, ": no language model, no key"
    if choice.kind == "scripted":
        try:
            ScriptedModel.read(Path(choice.target))
        except ModelError as error:
            return str(error), ""
        return None, ""
    if choice.kind == "replay":
        try:
            recorded_model(Path(choice.target))
        except LabError as error:
            return str(error), ""
        return None, ", from the record, free"
    # LangChain takes a second to import: only who has a language model waits for it.
    from roles.endpoint import KEY_VARIABLE, endpoint_reachable

    key = os.environ.get(choice.key_variable or KEY_VARIABLE)
    try:
        problem = endpoint_reachable(choice.base_url, key, ENDPOINT_SECONDS)
    except (ImportError, ValueError) as error:  # of a proxy in the environment that cannot be used
        problem = f"{choice.name} cannot be reached: {error}"
    return problem, f": the endpoint answers, {'a' if key else 'no'} key is set"


# --- device and corpus ------------------------------------------------------------------------


def _devices(config: Config) -> tuple[list[str], Finding]:
    """The devices, none if a run could not use them; and the terms of a trial there."""
    try:
        names = device_names(config)
    except LabError as error:
        return [], Finding("device", False, str(error))
    on_gpu = names[0].startswith("cuda")
    if on_gpu and isinstance(config.devices, tuple):
        there = find_devices("cuda")
        if missing := [name for name in names if name not in there]:
            found = ", ".join(there) or "no CUDA device"
            text = f"org.yaml names {', '.join(missing)}, but torch finds {found} here"
            return [], Finding("device", False, text)
    text = _terms(config.setting(on_gpu), names)
    if isinstance(config.devices, int) and config.devices > len(names):
        text += f"; org.yaml asks for {config.devices}, no more are here"
    return names, Finding("device", True, text)


def _terms(setting: Setting, names: list[str]) -> str:
    """What a trial will use there: time, threads, cores, context."""
    cores = len(available_cores())
    text = (
        f"{', '.join(names)}: profile {setting.profile}, {setting.seconds:g} s a trial, "
        f"{counted(setting.threads, 'thread')} each, {counted(cores, 'core')} here, "
        f"context {setting.sequence_length:,} tokens"
    )
    wanted = setting.threads * len(names)
    return text if wanted <= cores else f"{text}; trials at the same time want {wanted} cores"


class _NotPrepared(Exception):
    """The corpus would have to be prepared first."""


def _corpus(setting: Setting) -> Finding:
    """Whether the corpus is there: preparing it begins, and is given up at its first report."""

    def give_up(_: str) -> None:
        raise _NotPrepared

    cache = default_cache()
    try:
        dataset = build_dataset(setting, cache, give_up)
    except CorpusError as error:
        return Finding("corpus", False, str(error))
    except _NotPrepared:
        shards = training_shards(setting.corpus)
        size_gb = SHARD_GB * (shards + 1)  # and the one that is held out
        how = f"{f'downloaded (about {size_gb:.1f} GB) and ' if shards else ''}prepared"
        text = f"{setting.corpus} will be {how} in {cache} by the first run"
        return Finding("corpus", True, text)
    tokens = f"{dataset.train_tokens_count:,} training tokens, vocabulary {dataset.vocabulary:,}"
    return Finding("corpus", True, f"{dataset.corpus} is prepared: {tokens}")


def _wall(config: Config) -> Finding:
    """What trials will run behind; it is tried out."""
    try:
        return Finding("sandbox", True, explain(wall_of(config)))
    except LabError as error:
        return Finding("sandbox", False, str(error))


# --- the machine ------------------------------------------------------------------------------


def _git() -> Finding:
    found = shutil.which("git")
    return Finding("git", found is not None, found or "git is not installed; kept versions need it")


def _lab(folder: Path) -> Finding:
    """Whether a run could have the folder. A lab that is not there is not begun."""
    there = _nearest(folder)
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        return Finding("lab", False, f"the lab {folder} cannot be written: see {there}")
    kind = file_system(there, _mounts())
    if kind in NETWORK_FILE_SYSTEMS:
        text = f"the lab {folder} lies on a network file system ({kind}), where SQLite cannot"
        return Finding(
            "lab", False, f"{text} keep a notebook; use a --lab on a disk of this machine"
        )
    if not os.access(folder / "lock", os.F_OK):  # nobody has held it yet: no lock to ask for
        return Finding("lab", True, f"{folder} {'is' if there == folder else 'can be'} written")
    try:
        with exclusive(folder):
            return Finding("lab", True, f"{folder} is there, and not in use")
    except LabError as error:
        return Finding("lab", False, str(error))
    except OSError as error:  # of a file system that has no locks
        return Finding("lab", False, f"the lab {folder} cannot be locked: {error.strerror}")


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest above it that is there and may be looked at."""
    path = path.absolute()
    return next((each for each in (path, *path.parents) if os.access(each, os.F_OK)), path)


def _mounts() -> dict[str, str]:
    """Mount points, and the type of the file system that was mounted there last."""
    return {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}


def file_system(path: Path, mounts: dict[str, str]) -> str:
    """The type of the file system that holds a path; "" if that cannot be said."""
    path = path.resolve()
    return next((mounts[str(p)] for p in (path, *path.parents) if str(p) in mounts), "")


def _disks(folder: Path) -> Iterator[Finding]:
    """Free space for the lab and, if it lies on another disk, for the prepared corpora."""
    places = {_nearest(path).stat().st_dev: path for path in (default_cache(), folder)}
    for path in reversed(places.values()):
        free_gb = psutil.disk_usage(str(_nearest(path))).free / 2**30
        enough = free_gb >= FREE_DISK_GB
        wanted = "" if enough else f", {FREE_DISK_GB:g} are wanted"
        yield Finding("disk", enough, f"{free_gb:.1f} GB free for {path}{wanted}")


def _memory(devices_count: int) -> Finding:
    """Free memory of the machine, for a trial on every device."""
    free_gb, wanted_gb = psutil.virtual_memory().available / 2**30, FREE_MEMORY_GB * devices_count
    enough = free_gb >= wanted_gb
    wanted = "" if enough else f", {wanted_gb:g} are wanted for {counted(devices_count, 'trial')}"
    return Finding("memory", enough, f"{free_gb:.1f} GB free{wanted}")
