"""Opening a lab: from org.yaml to everything that a run needs, or one clear line why not."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path

from org.config import Config, ModelChoice, RoleConfig
from org.lab import Lab, LabError, exclusive
from org.lineage import Lineage
from org.notebook import NOTEBOOK_FILE, Notebook, Run, is_lab
from org.onlooker import Onlooker
from org.recorded import go_on_replaying, recorded_model
from roles.endpoint import KEY_VARIABLE
from roles.model import Model
from roles.patience import Patience
from roles.playbook import Playbook
from roles.purse import Purse
from roles.scripted import ScriptedModel
from trainer.dataset import Dataset, build_dataset
from trainer.devices import Devices, find_devices
from trainer.locks import shared_folder
from trainer.sandbox import NoWall, find_wall
from trainer.setting import Setting, default_cache
from trainer.tokenizer import encoding_of, load_ranks
from trainer.trial import pins

# The same entries are counted for one role after the other; a digest has some hundred at most.
TEXTS_COUNTED = 2000


@contextmanager
def open_lab(config: Config, folder: Path, onlooker: Onlooker) -> Iterator[Lab]:
    """Open a lab for a run of this process alone, going on with what is unfinished in it.

    Raises:
        LabError: it cannot be opened; the message is one line.
        CorpusError: the corpus cannot be prepared.
    """
    _not_its_own_record(config, folder)
    with exclusive(folder):
        last_order = _last_order(folder)
        names = device_names(config)
        stop = threading.Event()
        patience = Patience(stop, onlooker.note)
        setting = config.setting(has_gpu=names[0].startswith("cuda"))
        dataset = build_dataset(setting, default_cache(), onlooker.note)
        # Before the notebook: a lab that has begun has a repository, whenever it was killed.
        lineage = Lineage(folder / "lineage", folder.name)
        with closing(Notebook(folder / NOTEBOOK_FILE)) as notebook:
            run = _this_run(config, notebook, setting, dataset)
            purse = Purse(config.budget.dollars, notebook.dollars_at_most(run.id), stop)
            lab = Lab(
                folder=folder,
                config=config,
                setting=setting,
                dataset=dataset,
                notebook=notebook,
                lineage=lineage,
                devices=Devices(names, shared_folder(), lab=folder, told=onlooker.note),
                models=models(config, names[0], patience, purse),
                prompts={
                    role.name: role.prompt.read_text("utf-8") for role in config.roles.everyone
                },
                run=run,
                wall=wall_of(config),
                onlooker=onlooker,
                patience=patience,
                purse=purse,
                stop=stop,
                last_order=last_order,
                count_tokens=_counter(dataset),
            )
            _position_scripts(lab)
            go_on_replaying(lab)
            if incumbent := notebook.incumbent():
                lab.publish(incumbent)
            lab.read_program()  # from here on there is one, whatever a person does to the file
            yield lab


def _counter(dataset: Dataset) -> Callable[[str], int]:
    """Counts the tokens of a text, and remembers those of the latest."""
    encoding = encoding_of(load_ranks(dataset.tokenizer))

    @lru_cache(TEXTS_COUNTED)
    def count(text: str) -> int:
        return len(encoding.encode_ordinary(text))

    return count


def _last_order(folder: Path) -> int:
    """The number of the last order that was given to the runs before; 0 without a notebook."""
    if not is_lab(folder):
        return 0
    with closing(Notebook(folder / NOTEBOOK_FILE)) as notebook:
        (row,) = notebook.rows("select coalesce(max(number), 0) as last from orders")
        return int(row["last"])


def _not_its_own_record(config: Config, folder: Path) -> None:
    """A lab that is replayed would go on writing into what it reads. Raises LabError."""
    for role in config.roles.everyone:
        choice = config.model_of(role)
        if choice.kind == "replay" and Path(choice.target).resolve() == folder.resolve():
            raise LabError(f"{choice.name} cannot be replayed into itself; use another --lab")


def device_names(config: Config) -> list[str]:
    """The devices that org.yaml asks for.

    Raises:
        LabError: there are none of that kind.
    """
    wanted = config.devices
    if isinstance(wanted, tuple):
        return list(wanted)
    kind = {"auto": "auto", "cpu": "cpu", "gpu": "cuda"}[config.trial.profile]
    threads = config.trial.threads or 1
    found = find_devices(kind, threads)
    if not found:
        raise LabError("org.yaml asks for the gpu profile, but torch finds no CUDA device here")
    return found if wanted == "auto" else found[:wanted]


def wall_of(config: Config) -> str:
    """What trials run behind: the best wall that holds here, unless org.yaml wants none.

    Raises:
        LabError: none holds here, and org.yaml does not say that trials may run without.
    """
    try:
        return "none" if config.sandbox == "none" else find_wall()
    except NoWall as error:
        raise LabError(str(error)) from error


def models(
    config: Config, device: str, patience: Patience | None = None, purse: Purse | None = None
) -> dict[str, Model]:
    """The model behind each role, by the role's name; a script or record is shared by all who name it.

    ``patience`` is how language models are waited for and ``purse`` what they are paid from, all of
    them together.
    """
    shared: dict[str, Model] = {}
    patience, purse = patience or Patience(), purse or Purse()
    return {
        role.name: _model(config, role, device, shared, patience, purse)
        for role in config.roles.everyone
    }


def _model(
    config: Config,
    role: RoleConfig,
    device: str,
    shared: dict[str, Model],
    patience: Patience,
    purse: Purse,
) -> Model:
    choice: ModelChoice = config.model_of(role)
    if choice.kind == "playbook":
        return Playbook(device.partition(":")[0])
    if choice.kind == "scripted":
        return shared.setdefault(choice.name, ScriptedModel.read(Path(choice.target)))
    if choice.kind == "replay":
        if choice.name not in shared:
            shared[choice.name] = recorded_model(Path(choice.target), patience.say)
        return shared[choice.name]
    # LangChain takes a second to import: only a run with a language model waits for it.
    from roles.chat import ChatModel

    own = {"temperature", "reasoning_effort", "max_tokens"}
    settings = choice.model_dump(include={*own, "base_url", "timeout_seconds", "window"})
    settings |= role.model_dump(include=own, exclude_none=True)
    return ChatModel(
        choice.target,
        api_key=os.environ.get(choice.key_variable or KEY_VARIABLE),
        extra_body=choice.extra_body,
        price=choice.known_price,
        patience=patience,
        purse=purse,
        **settings,
    )


def _this_run(config: Config, notebook: Notebook, setting: Setting, dataset: Dataset) -> Run:
    """The unfinished run of this lab, or else a new one."""
    baseline = config.train.read_text(encoding="utf-8")
    latest = notebook.latest_run()
    now = time.time()
    run = Run(
        id=_new_run_id(notebook, now),
        started=now,
        org_yaml=config.model_dump_json(),
        setting_json=setting.model_dump_json(),
        pins_json=json.dumps(pins(setting, dataset, precedence=config.precedence), sort_keys=True),
        models_json=json.dumps({r.name: config.model_of(r).name for r in config.roles.everyone}),
        baseline_sha=notebook.keep_source(baseline),
    )
    if latest is not None:
        _must_be_comparable(latest, run)
    if latest is not None and latest.ended is None:
        now_by = {"org_yaml": run.org_yaml, "models_json": run.models_json}
        notebook.reorganize_run(latest.id, **now_by)
        return latest.model_copy(update=now_by)
    notebook.begin_run(run)
    return run


def _new_run_id(notebook: Notebook, now: float) -> str:
    """The time of day, which may come twice: clocks are put back."""
    name = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    taken = {run.id for run in notebook.runs()}
    others = (f"{name}-{number}" for number in itertools.count(2))
    return next(each for each in itertools.chain([name], others) if each not in taken)


def _must_be_comparable(latest: Run, now: Run) -> None:
    """Trials under different terms are never compared, so a lab keeps to the ones it began with."""
    if latest.baseline_sha != now.baseline_sha:
        raise LabError("this lab began from another train.py; use another --lab for this one")
    old, new = json.loads(latest.pins_json), json.loads(now.pins_json)
    if changed := sorted(
        name for name in old.keys() | new.keys() if old.get(name) != new.get(name)
    ):
        what = ", ".join(changed)
        raise LabError(f"this lab was measured under other terms ({what}); use another --lab")


def _position_scripts(lab: Lab) -> None:
    """Let a script go on after the replies that the notebook has already."""
    for role, model in lab.models.items():
        if isinstance(model, ScriptedModel):
            model.skip(role, lab.notebook.replies_count(role))
