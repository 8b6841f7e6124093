"""org.yaml as strict types: who works here, with which model, on what budget."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from org.config_errors import did_you_mean, problems_of
from org.config_fields import (
    AnyPath,
    Body,
    Count,
    Devices,
    Dollars,
    Name,
    Source,
    Temperature,
    TextFile,
    Url,
    Variable,
    Where,
    expecting,
    from_folder,
    has_key,
    has_notebook,
    has_text,
)
from org.yaml_lines import Document, KeyPath, Place, Problem
from roles.prices import Price, price_of
from roles.records import Paragraph
from trainer.evidence.certify import MAX_SEEDS, MIN_SEEDS, SEEDS_EACH
from trainer.evidence.stack import CERTIFY_EVERY
from trainer.setting import PROFILES, ProfileName, Setting

ReviewRule = Literal["any", "majority"]
ModelKind = Literal["playbook", "openai", "scripted", "replay"]
Moment = Literal["direct", "hypothesize", "engineer", "screen", "train", "review"]

# Names that the discussion gives to its own speakers and listeners, and the chart to its places.
TAKEN_NAMES = (
    "director",
    "engineer",
    "reviewer",
    "lab",
    "trial",
    "verdict",
    "everyone",
    "person",
    *("approve", "smoke", "certify"),
    *get_args(Moment),
)


class ConfigError(Exception):
    """org.yaml cannot be used; the text has one line for each thing that is wrong with it."""


class Section(BaseModel):
    """A block of keys in org.yaml. The text under each field is what an editor shows for it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class ModelChoice(Section):
    """Which model answers, and where it is to be found. Its short form is its name alone."""

    base_url: Url | None = None
    """An endpoint that speaks the OpenAI protocol; left out: OPENAI_BASE_URL, else OpenAI's own."""
    key_variable: Variable | None = None
    """The environment variable that holds the key; left out: OPENAI_API_KEY."""
    name: Annotated[
        str, Field(json_schema_extra={"pattern": "^(playbook|(openai|scripted|replay):.+)$"})
    ]
    """playbook (no language model, no key), openai:NAME, scripted:PATH (replies from a file), or
    replay:LAB (what was said in another lab, again)."""
    price: (
        Annotated[
            tuple[Dollars, Dollars],
            expecting("two prices, [read, written], in dollars per million tokens"),
        ]
        | None
    ) = None
    """Dollars per million tokens: [read, written]. Left out: as in roles/prices.yaml, and unknown,
    which is not 0, where it is not in there."""
    temperature: Temperature | None = None
    """Left out: the endpoint's own."""
    reasoning_effort: Annotated[str, Field(pattern="^[a-z]+$")] | None = None
    """How much a model that reasons should, in the endpoint's own words, such as low or high."""
    timeout_seconds: Annotated[float, Field(gt=0)] | None = None
    """How long to wait for one reply of a language model."""
    max_tokens: Count | None = None
    """The longest reply, thoughts included, in tokens; left out: the endpoint's own limit."""
    window: Annotated[int, Field(ge=512)] | None = None
    """How many tokens fit into it, prompt and reply together: what a role reads is cut to that.
    Left out: found out once a prompt is too long. Say it where a server cuts without a word, as
    Ollama does."""
    extra_body: Body | None = None
    """Further parameters of every request, for what this endpoint alone knows."""

    @field_validator("name")
    @classmethod
    def _names_a_model(cls, name: str, info: ValidationInfo) -> str:
        kind, _, target = name.partition(":")
        if kind not in get_args(ModelKind) or (kind == "playbook") == bool(target.strip()):
            hint = did_you_mean(kind, get_args(ModelKind))
            expected = "expected playbook, openai:NAME, scripted:PATH or replay:LAB"
            raise ValueError(f"{expected}, not {name!r}{hint}")
        if kind == "scripted":
            path = from_folder(target, info)
            if info.context and info.context.to_run:
                has_text(path)
            return f"scripted:{path}"
        if kind == "replay":
            path = from_folder(target, info)
            if info.context and info.context.to_run:
                has_notebook(path)
            return f"replay:{path}"
        where_known = {"base_url", "key_variable"} <= info.data.keys()
        if kind == "openai" and info.context and info.context.to_run and where_known:
            has_key(name, info.data["base_url"], info.data["key_variable"])
        return name

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def kind(self) -> ModelKind:
        """Which of the models behind the door it is."""
        kind: ModelKind = self.name.partition(":")[0]  # type: ignore[assignment]
        return kind

    @property
    def target(self) -> str:
        """What follows the kind: the language model's name, or the path of the script or lab."""
        return self.name.partition(":")[2]

    @property
    def known_price(self) -> Price | None:
        """Dollars per million tokens, read and written: its own price, or the table's."""
        return self.price or price_of(self.target, self.base_url)


def _spelt_out(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


AnyModel = Annotated[
    ModelChoice, BeforeValidator(_spelt_out, json_schema_input_type=str | ModelChoice)
]


class RoleConfig(Section):
    """Someone who works here: a name, a prompt, and the model that answers for them."""

    name: Name
    """How the discussion calls them."""
    prompt: TextFile
    """The file with what this role is told."""
    model: AnyModel | None = None
    """The model of this role, where it is not the one for all."""
    temperature: Temperature | None = None
    """Of a language model, where it is not the model's for all."""
    reasoning_effort: Annotated[str, Field(pattern="^[a-z]+$")] | None = None
    """Of a language model, where it is not the model's for all."""
    max_tokens: Count | None = None
    """Of a language model, where it is not the model's for all."""


class DirectorConfig(RoleConfig):
    """Decides what to look at next, and who should."""

    name: Literal["director"] = "director"
    exploration: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The share of experiments that goes to the hypothesis role and the category tried least; of
    the others it is suggested who has paid off."""


class HypothesisConfig(RoleConfig):
    """Proposes one change at a time; the director chooses among several by name and focus."""

    focus: Paragraph = ""
    """What this one knows best, in words."""


class EngineerConfig(RoleConfig):
    """Writes the patch."""

    name: Literal["engineer"] = "engineer"
    attempts: Count = 3
    """How many patches may be written for one hypothesis before it is given up."""


class ReviewerConfig(RoleConfig):
    """Looks at a patch before it costs device time, and explains the verdict after it."""

    name: Literal["reviewer"] = "reviewer"


class BenchConfig(RoleConfig):
    """One of several reviewers: each has a name, and all speak for themselves."""


def _one_or_several(value: object) -> str:
    return "several" if isinstance(value, list | tuple) else "one"


AnyReviewer = Annotated[
    Annotated[Annotated[tuple[BenchConfig, ...], Field(min_length=1)], Tag("several")]
    | Annotated[ReviewerConfig, Tag("one")],
    Discriminator(_one_or_several),
]


class AdviserConfig(RoleConfig):
    """Speaks at one moment of every experiment, to everyone who comes after."""

    before: Moment | None = None
    """The step before which to speak."""
    after: Annotated[Moment | None, Field(validate_default=True)] = None
    """The step after which to speak."""

    @field_validator("after")
    @classmethod
    def _one_moment(cls, after: Moment | None, info: ValidationInfo) -> Moment | None:
        if "before" in info.data and (info.data["before"] is None) == (after is None):
            raise ValueError(f"expected a moment, before or after one of {_listed(Moment)}")
        return after

    @property
    def moment(self) -> str:
        """When this adviser speaks, in words."""
        return f"before {self.before}" if self.before else f"after {self.after}"


def _listed(choice: object) -> str:
    return ", ".join(get_args(choice))


class Roles(Section):
    """Who works here."""

    director: DirectorConfig
    """Decides what to look at next, and who should."""
    hypothesis: Annotated[tuple[HypothesisConfig, ...], Field(min_length=1)]
    """One or several who propose changes, each with a focus."""
    engineer: EngineerConfig
    """Writes the patch."""
    reviewer: AnyReviewer
    """Screens the patch and explains the verdict: one, or a list of several with a name each, whose
    objections count by review.rule. The first of them draws the lesson."""
    advisers: tuple[AdviserConfig, ...] = ()
    """Others who speak at a moment of their own."""

    @property
    def everyone(self) -> tuple[RoleConfig, ...]:
        """All roles, in the order in which they speak; the advisers last."""
        return (self.director, *self.hypothesis, self.engineer, *self.reviewers, *self.advisers)

    @property
    def reviewers(self) -> tuple[RoleConfig, ...]:
        """The reviewer, or all of the bench."""
        return self.reviewer if isinstance(self.reviewer, tuple) else (self.reviewer,)


class TrialConfig(Section):
    """The terms of every trial: a profile, and what differs from it."""

    profile: Literal["auto", ProfileName] = "auto"
    """cpu, gpu, or auto: gpu where there is one."""
    corpus: str | None = None
    """kjv, climbmix, or files:PATTERN (a folder or glob of .txt or .parquet)."""
    vocabulary: int | None = None
    """How many tokens the tokenizer has."""
    sequence_length: int | None = None
    """The context, in tokens."""
    evaluation_tokens: int | None = None
    """How many tokens a score is measured on."""
    seconds: float | None = None
    """The training budget: processor seconds per thread on a CPU, wall seconds on a GPU."""
    startup_seconds: float | None = None
    """The allowance before the first step, beyond which the clock runs."""
    threads: int | None = None
    """Processor threads of one trial."""
    memory_gb: float | None = None
    """Gigabytes of this machine's memory, not of a GPU's, beyond which a trial is ended."""

    @field_validator("*")
    @classmethod
    def _fits_a_setting(cls, value: Any, info: ValidationInfo) -> Any:
        # The bounds are the setting's own; a field is as good under one profile as another.
        if value is not None and info.field_name and info.field_name != "profile":
            Setting.model_validate({**PROFILES["cpu"].model_dump(), info.field_name: value})
        return value

    @field_validator("corpus")
    @classmethod
    def _is_a_corpus(cls, corpus: str | None, info: ValidationInfo) -> str | None:
        if corpus is None or corpus in ("kjv", "climbmix"):
            return corpus
        kind, _, pattern = corpus.partition(":")
        if kind != "files" or not pattern.strip():
            hint = did_you_mean(kind, ("kjv", "climbmix", "files"))
            raise ValueError(f"expected kjv, climbmix or files:PATTERN, not {corpus!r}{hint}")
        return f"files:{from_folder(pattern, info)}"


class ReviewConfig(Section):
    """How a change is judged."""

    rule: ReviewRule = "any"
    """Of several reviewers: any, one objection is enough; majority, more than half must object."""
    rounds: Annotated[int, Field(ge=0)] | None = None
    """How often the engineer may revise a patch that was objected to before its trial; then the
    experiment ends. Left out: as often as roles.engineer.attempts has room for."""
    baseline_runs: Annotated[int, Field(ge=2)] = 3
    """Runs of the baseline, each under its own seed, from which the noise is measured."""
    certify_every: Annotated[int, Field(ge=1)] = CERTIFY_EVERY
    """Changes on the stack before it is certified by its size: later where the proof would cost
    more than a small share of the runs since the last one."""
    max_seeds: Annotated[int, Field(ge=MIN_SEEDS, le=SEEDS_EACH)] = MAX_SEEDS
    """Fresh seeds that a certification may take for each side."""


class Budget(Section):
    """What a run may spend; it ends when the first of these is spent."""

    experiments: Count | None = None
    """Experiments, besides the baseline."""
    hours: Annotated[float, Field(gt=0)] | None = None
    """Hours of wall time."""
    dollars: Annotated[float, Field(gt=0)] | None = None
    """Dollars for language models; each of them needs a price."""

    @model_validator(mode="after")
    def _ends(self) -> Budget:
        if self.experiments is None and self.hours is None:
            raise ValueError("expected experiments or hours, so that a run has an end")
        return self


class Config(Section):
    """An organization. Paths are relative to the folder of org.yaml in the text, absolute here."""

    program: TextFile
    """What to find out, and what is allowed: read again before every experiment."""
    train: Source
    """The baseline: the file that the engineers change."""
    lab: AnyPath = Field(default=Path("labs/default"), validate_default=True)
    """The folder of the run: notebook, trials, kept versions."""
    model: AnyModel
    """The model of every role that names no other: playbook, openai:NAME, scripted:PATH or
    replay:LAB."""
    roles: Roles
    """Who works here."""
    desks: Annotated[Literal["auto"] | Count, expecting("auto, or how many")] = "auto"
    """Lines of inquiry at the same time, so that some think while others train. auto: as many as
    keep the devices busy, by how long thinking and trials have taken so far."""
    devices: Annotated[
        Literal["auto"] | Count | Devices,
        expecting("auto, how many, or different ones of one kind, such as [cuda:0, cuda:1]"),
    ] = "auto"
    """What trials may run on: auto, how many, or a list such as [cuda:0, cuda:1]."""
    sandbox: Literal["auto", "none"] = "auto"
    """auto: trials run behind the best wall that this machine has, and not at all where it has
    none. none: what agents write runs with all your rights."""
    precedence: bool = True
    """Whether a trial on a CPU goes before other programs, where the system grants that: what a
    second of it is worth depends less on them."""
    approval: bool = False
    """Whether a person is asked before each patch is tried: in the terminal of the run, or with
    `python -m org approve` and `reject` from any other. Others go on while one waits."""
    trial: TrialConfig = TrialConfig()
    """The terms of every trial."""
    review: ReviewConfig = ReviewConfig()
    """How a change is judged."""
    budget: Budget
    """What a run may spend."""

    def model_of(self, role: RoleConfig) -> ModelChoice:
        """The model that answers for a role: its own, or the one for all."""
        return role.model or self.model

    def setting(self, has_gpu: bool) -> Setting:
        """The terms of every trial, on a machine with or without a GPU."""
        automatic: ProfileName = "gpu" if has_gpu else "cpu"
        profile = automatic if self.trial.profile == "auto" else self.trial.profile
        overrides = self.trial.model_dump(exclude={"profile"}, exclude_none=True)
        return Setting.model_validate({**PROFILES[profile].model_dump(), **overrides})


def load_config(path: Path, *, to_run: bool = True) -> Config:
    """Read an organization from its org.yaml.

    With ``to_run`` the world outside the file must be ready too: program, prompts and scripts
    there, train.py compiling, a key in the environment for every language model that needs one.

    Raises:
        ConfigError: all that is wrong, one line each: file, line, key, what was expected.
    """
    document = Document(_read(path))
    problems = [*document.problems, *_name_problems(document), *_price_problems(document)]
    problems += _rounds_problems(document)
    config: Config | None = None
    if () in document.places:
        where = Where(path.parent.absolute(), to_run)
        try:
            config = Config.model_validate(document.places[()].value, context=where)
        except ValidationError as error:
            already = {(problem.line, problem.path) for problem in document.problems}
            found = problems_of(error, document, Config)
            problems += [one for one in found if (one.line, one.path) not in already]
    if config is None or problems:
        problems.sort(key=lambda problem: problem.line)
        raise ConfigError("\n".join(f"{path}:{problem}" for problem in problems))
    return config


def json_schema() -> dict[str, Any]:
    """The JSON schema of org.yaml, by which an editor completes and checks it."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """The JSON schema as it stands in org.schema.json."""
    return json.dumps(json_schema(), indent=2) + "\n"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "`python -m org init DIR` writes one to start from"
        raise ConfigError(f"{path}: no such file; {hint}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text in UTF-8") from None


def _name_problems(document: Document) -> Iterator[Problem]:
    """Names that two would answer to. Found in the text, so that other errors do not hide them."""
    lines: dict[str, int] = {}
    for path, (line, name) in document.places.items():
        is_name = len(path) == 4 and isinstance(path[2], int) and path[3] == "name"
        if not is_name or not isinstance(name, str):
            continue
        if name in TAKEN_NAMES:
            text = f"expected another name, {name!r} means someone else in the discussion"
            yield Problem(line, path, text)
        elif name in lines:
            text = f"expected another name, {name!r} is taken already, in line {lines[name]}"
            yield Problem(line, path, text)
        lines.setdefault(name, line)


def _rounds_problems(document: Document) -> Iterator[Problem]:
    """More rounds of revision than there may be patches: they would never be had."""
    path: KeyPath = ("review", "rounds")
    usual = EngineerConfig.model_fields["attempts"].default
    attempts = document.places.get(("roles", "engineer", "attempts"), Place(0, usual)).value
    line, rounds = document.places.get(path, Place(0, None))
    if isinstance(rounds, int) and isinstance(attempts, int) and rounds >= max(attempts, 1):
        most = f"at most {max(attempts, 1) - 1}, as roles.engineer.attempts is {attempts}"
        yield Problem(line, path, f"expected {most}, not {rounds}")


def _price_problems(document: Document) -> Iterator[Problem]:
    """Language models that a budget in dollars could not be kept with: of unknown price or length."""
    if document.places.get(("budget", "dollars"), Place(0, None)).value is None:
        return
    for path, (line, name) in document.places.items():
        is_model = path[-2:] == ("model", "name") or path[-1:] == ("model",)
        if not (is_model and isinstance(name, str) and name.startswith("openai:")):
            continue
        block = path[:-1] if path[-1] == "name" else path
        said = {
            key: document.places.get((*block, key), Place(0, None)).value
            for key in ("price", "base_url", "max_tokens")
        }
        url = said["base_url"] if isinstance(said["base_url"], str) else None
        if said["price"] is None and price_of(name.removeprefix("openai:"), url) is None:
            long = f"{{name: {name}, price: [read, written]}}"
            yield Problem(line, path, f"expected a price, as budget.dollars is set: {long}")
        free = said["price"] in ((0, 0), [0, 0])
        if not free and said["max_tokens"] is None and not _bounded(document, block[:-1]):
            yield Problem(
                line, path, "expected max_tokens, as budget.dollars is set: how long a reply may be"
            )


def _bounded(document: Document, owner: KeyPath) -> bool:
    """Whether those who use the model of a role, or the one for all, each have max_tokens."""
    roles = [
        path[:-1] for path in document.places if path[:1] == ("roles",) and path[-1] == "prompt"
    ]
    users = (
        [owner] if owner else [each for each in roles if (*each, "model") not in document.places]
    )
    return all((*each, "max_tokens") in document.places for each in users)
