"""org.yaml as strict types: who works here, with which model, on what budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from org.config_errors import did_you_mean
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
    expecting,
    from_folder,
    has_key,
    has_notebook,
    has_text,
)
from roles.prices import Price, price_of
from roles.records import Paragraph
from trainer.evidence.certify import MAX_SEEDS, MIN_SEEDS, SEEDS_EACH
from trainer.evidence.stack import CERTIFY_EVERY
from trainer.setting import PROFILES, ProfileName, Setting

ReviewRule = Literal["any", "majority"]
ModelKind = Literal["playbook", "openai", "scripted", "replay"]
Moment = Literal["direct", "hypothesize", "engineer", "screen", "train", "review"]


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
    """kjv, climbmix, climbmix:SHARDS (so many shards of it to train on, of about 100 MB each), or
    files:PATTERN (a folder or glob of .txt or .parquet)."""
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
        kind, _, target = corpus.partition(":")
        if kind == "files" and target.strip():
            return f"files:{from_folder(target, info)}"
        if kind == "climbmix" and target.isdecimal():
            # It loads numpy: only who counts shards waits for that.
            from trainer.corpus import CorpusError, training_shards

            try:
                training_shards(corpus)
            except CorpusError as error:
                raise ValueError(str(error)) from None
            return corpus
        expected = "expected kjv, climbmix, climbmix:SHARDS or files:PATTERN"
        hint = did_you_mean(kind, ("kjv", "climbmix", "files"))
        raise ValueError(f"{expected}, not {corpus!r}{hint}")


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
    """Changes on the stack before it is certified by its size: later where that would cost
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


def json_schema() -> dict[str, Any]:
    """The JSON schema of org.yaml, by which an editor completes and checks it."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """The JSON schema as it stands in org.schema.json."""
    return json.dumps(json_schema(), indent=2) + "\n"
