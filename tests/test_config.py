"""org.yaml: what is read from it, and how it is said that something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from org.config import Config, schema_text
from org.config_reading import ConfigError, load_config
from org.graph import NODES
from org.opening import models
from roles.chat import ChatModel
from roles.records import Category
from trainer.evidence.certify import MAX_SEEDS, SEEDS_EACH
from trainer.evidence.stack import CERTIFY_EVERY
from trainer.setting import PROFILES

ROOT = Path(__file__).parent.parent

SMALL = """\
program: program.md
train: train.py
model: playbook
roles:
  director: {prompt: prompt.md}
  hypothesis:
    - {name: optimizer, prompt: prompt.md}
  engineer: {prompt: prompt.md}
  reviewer: {prompt: prompt.md}
budget: {experiments: 6}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "program.md").write_text("Lower val_bpb.")
    (tmp_path / "prompt.md").write_text("You are good at this.")
    (tmp_path / "train.py").write_text("print('training')\n")
    return tmp_path


def load(folder: Path, text: str, **options: bool) -> Config:
    (folder / "org.yaml").write_text(text)
    return load_config(folder / "org.yaml", **options)


def problems(folder: Path, text: str, **options: bool) -> list[str]:
    """What is said to be wrong, without the folder's name."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, **options)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def changed(before: str, after: str) -> str:
    assert before in SMALL
    return SMALL.replace(before, after)


def test_the_starting_organization_is_ready_to_run() -> None:
    config = load_config(ROOT / "org.yaml")
    assert {config.model_of(role).name for role in config.roles.everyone} == {"playbook"}
    assert config.budget.experiments is not None


def test_every_key_that_the_starting_organization_shows_in_a_comment_may_be_used(
    folder: Path,
) -> None:
    text = (ROOT / "org.yaml").read_text()
    for key in ("seconds: 60", "hours: 8", "dollars: 5", "rounds: 1", "rule: majority"):
        assert f"  # {key}" in text
        text = text.replace(f"  # {key}", f"  {key}")
    start = text.index("  # advisers:")
    adviser = text[start : text.index("desks:")]
    text = text.replace(adviser, adviser.replace("  # ", "  "))
    config = load(folder, text, to_run=False)
    assert config.trial.seconds == 60
    assert [adviser.moment for adviser in config.roles.advisers] == ["before engineer"]


def test_the_exported_schema_is_the_one_in_the_repository_and_org_yaml_refers_to_it() -> None:
    assert (ROOT / "org.schema.json").read_text() == schema_text()
    first_line = (ROOT / "org.yaml").read_text().splitlines()[0]
    assert first_line == "# yaml-language-server: $schema=org.schema.json"


def test_the_schema_tells_an_editor_what_each_key_is_for() -> None:
    schema = json.loads(schema_text())
    blocks = schema.pop("$defs")
    for name, block in {"Config": schema, **blocks}.items():
        for key, value in block["properties"].items():
            referred = blocks[value["$ref"].rpartition("/")[2]] if "$ref" in value else {}
            says = value.get("description") or referred.get("description")
            assert says or "const" in value, f"{name}.{key} says nothing"


def test_paths_start_at_the_folder_of_org_yaml_wherever_it_is_read_from(folder: Path) -> None:
    config = load(folder, SMALL)
    assert config.program == folder / "program.md"
    assert config.train == folder / "train.py"
    assert config.roles.director.prompt == folder / "prompt.md"
    assert config.lab == folder / "labs/default"


def test_roles_have_names_and_stand_in_the_order_in_which_they_speak(folder: Path) -> None:
    text = changed(
        "engineer:",
        "advisers: [{name: skeptic, prompt: prompt.md, after: hypothesize}]\n  engineer:",
    )
    names = [role.name for role in load(folder, text).roles.everyone]
    assert names == ["director", "optimizer", "engineer", "reviewer", "skeptic"]


def test_a_reviewer_is_one_or_a_bench_of_several_with_names(folder: Path) -> None:
    (one,) = load(folder, SMALL).roles.reviewers
    assert one.name == "reviewer"
    bench = changed(
        "reviewer: {prompt: prompt.md}",
        "reviewer: [{name: careful, prompt: prompt.md}, {name: frugal, prompt: prompt.md}]",
    )
    config = load(folder, bench + "review: {rule: majority}\n")
    assert [each.name for each in config.roles.reviewers] == ["careful", "frugal"]
    assert [each.name for each in config.roles.everyone][-2:] == ["careful", "frugal"]
    assert config.review.rule == "majority"


@pytest.mark.parametrize(
    ("reviewer", "expected"),
    [
        (
            "[{name: careful, prompt: prompt.md}, {name: careful, prompt: prompt.md}]",
            "roles.reviewer[1].name: expected another name, 'careful' is taken already, in line 9",
        ),
        (
            "[{prompt: prompt.md}]",
            "roles.reviewer[0].name: expected, but missing: how the discussion calls them",
        ),
        ("[]", "roles.reviewer: expected at least 1 in this list"),
        ("{promt: prompt.md}", "roles.reviewer.promt: no such key (did you mean 'prompt'?)"),
        (
            "[{name: careful, promt: prompt.md}]",
            "roles.reviewer[0].promt: no such key (did you mean 'prompt'?)",
        ),
        (
            "{name: careful, prompt: prompt.md}",
            "roles.reviewer.name: expected 'reviewer', not 'careful'",
        ),
    ],
)
def test_what_is_wrong_with_a_reviewer_is_said_of_the_form_that_was_meant(
    folder: Path, reviewer: str, expected: str
) -> None:
    text = changed("reviewer: {prompt: prompt.md}", f"reviewer: {reviewer}")
    assert problems(folder, text) == [f"org.yaml:9: {expected}"]


@pytest.mark.parametrize(("attempts", "most"), [(3, 2), (1, 0)])
def test_there_may_be_no_more_rounds_of_revision_than_patches(
    folder: Path, attempts: int, most: int
) -> None:
    text = changed("engineer: {", f"engineer: {{attempts: {attempts}, ")
    assert load(folder, text + f"review: {{rounds: {most}}}\n").review.rounds == most
    assert problems(folder, text + f"review: {{rounds: {most + 1}}}\n") == [
        f"org.yaml:11: review.rounds: expected at most {most}, as roles.engineer.attempts is "
        f"{attempts}, not {most + 1}"
    ]


def test_a_role_without_a_model_has_the_one_for_all(folder: Path) -> None:
    (folder / "replies.yaml").write_text("[]")
    text = changed("engineer: {", "engineer: {model: 'scripted:replies.yaml', ")
    config = load(folder, text)
    own, common = config.model_of(config.roles.engineer), config.model_of(config.roles.reviewer)
    assert (own.kind, own.target) == ("scripted", str(folder / "replies.yaml"))
    assert (common.kind, common.target) == ("playbook", "")


def test_a_model_may_say_where_it_is_and_what_it_costs(folder: Path) -> None:
    model = "{name: 'openai:small', base_url: 'http://127.0.0.1:1/v1', price: [0.5, 2], timeout_seconds: 60}"
    text = changed("model: playbook", f"model: {model}")
    text = text.replace("engineer: {", "engineer: {temperature: 1, max_tokens: 900, ")
    config = load(folder, text)
    assert (config.model.kind, config.model.target) == ("openai", "small")
    assert config.model.price == (0.5, 2)
    assert config.model.timeout_seconds == 60
    assert (config.roles.engineer.temperature, config.roles.engineer.max_tokens) == (1, 900)


def test_the_profile_follows_the_machine_unless_it_is_named(folder: Path) -> None:
    automatic = load(folder, SMALL)
    assert automatic.setting(has_gpu=False) == PROFILES["cpu"]
    assert automatic.setting(has_gpu=True) == PROFILES["gpu"]
    named = load(folder, SMALL + "trial: {profile: cpu}\n")
    assert named.setting(has_gpu=True) == PROFILES["cpu"]


def test_a_trial_may_differ_from_its_profile(folder: Path) -> None:
    config = load(folder, SMALL + "trial: {seconds: 2, vocabulary: 300, corpus: 'files:texts'}\n")
    setting = config.setting(has_gpu=False)
    assert setting == PROFILES["cpu"].model_copy(
        update={"seconds": 2.0, "vocabulary": 300, "corpus": f"files:{folder}/texts"}
    )


def test_a_trial_may_train_on_a_few_shards_of_climbmix(folder: Path) -> None:
    config = load(folder, SMALL + "trial: {corpus: 'climbmix:3'}\n")
    assert config.setting(has_gpu=False).corpus == "climbmix:3"
    for corpus in ("climbmix:", "climbmix:many", "climbmix:-1"):
        assert problems(folder, SMALL + f"trial: {{corpus: '{corpus}'}}\n") == [
            "org.yaml:11: trial.corpus: expected kjv, climbmix, climbmix:SHARDS or files:PATTERN, "
            f"not {corpus!r} (did you mean 'climbmix'?)"
        ]
    for corpus in ("climbmix:0", "climbmix:6543"):
        assert problems(folder, SMALL + f"trial: {{corpus: '{corpus}'}}\n") == [
            f"org.yaml:11: trial.corpus: {corpus}: from 1 to 6542 training shards can be had"
        ]


@pytest.mark.parametrize(
    ("devices", "expected"),
    [("auto", "auto"), ("2", 2), ("[cuda:0, cuda:1]", ("cuda:0", "cuda:1"))],
)
def test_devices_are_automatic_counted_or_listed(
    folder: Path, devices: str, expected: object
) -> None:
    assert load(folder, SMALL + f"devices: {devices}\n").devices == expected


def test_a_stack_is_proven_as_the_rules_were_measured_unless_org_yaml_says_otherwise(
    folder: Path,
) -> None:
    usual = load(folder, SMALL).review
    assert (usual.certify_every, usual.max_seeds) == (CERTIFY_EVERY, MAX_SEEDS)
    said = load(folder, SMALL + "review: {certify_every: 2, max_seeds: 3}\n").review
    assert (said.certify_every, said.max_seeds) == (2, 3)


def test_all_errors_are_shown_at_once_in_the_order_of_the_text(folder: Path) -> None:
    text = """\
program: no.md
trian: train.py
model: opanai:gpt
roles:
  director: {promt: prompt.md}
  hypothesis:
    - {name: Optimizer, prompt: prompt.md, temperature: hot}
  engineer:
    prompt: prompt.md
    atempts: 3
  reviewer: {prompt: prompt.md}
trial: {profile: gpus, vocabulary: 3, seconds: -1, corpus: kvj}
desks: 0
desks: 2
budget: {hours: -1}
"""
    assert problems(folder, text) == [
        "org.yaml:1: program: expected a file, but there is no no.md",
        "org.yaml:2: trian: no such key (did you mean 'train'?)",
        "org.yaml:3: model: expected playbook, openai:NAME, scripted:PATH or replay:LAB, "
        "not 'opanai:gpt' (did you mean 'openai'?)",
        "org.yaml:5: roles.director.promt: no such key (did you mean 'prompt'?)",
        "org.yaml:7: roles.hypothesis[0].name: expected a plain word of small letters, digits, "
        "- and _, not 'Optimizer'",
        "org.yaml:7: roles.hypothesis[0].temperature: expected a number, not 'hot'",
        "org.yaml:10: roles.engineer.atempts: no such key (did you mean 'attempts'?)",
        "org.yaml:12: trial.profile: expected 'auto', 'cpu' or 'gpu', not 'gpus' (did you mean 'gpu'?)",
        "org.yaml:12: trial.corpus: expected kjv, climbmix, climbmix:SHARDS or files:PATTERN, "
        "not 'kvj' (did you mean 'kjv'?)",
        "org.yaml:12: trial.vocabulary: expected at least 258, not 3",
        "org.yaml:12: trial.seconds: expected more than 0, not -1",
        "org.yaml:13: desks: expected auto, or how many, not 0",
        "org.yaml:14: desks: this key stands here a second time, the first is in line 13",
        "org.yaml:15: budget.hours: expected more than 0, not -1",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            changed("train: train.py", "train: [train.py]"),
            "org.yaml:2: train: expected a path, not ['train.py']",
        ),
        (
            changed("program: program.md\n", ""),
            "org.yaml:1: program: expected, but missing: what to find out, and what is allowed",
        ),
        (
            changed("engineer: {prompt: prompt.md}", "engineer: {attempts: 3}"),
            "org.yaml:8: roles.engineer.prompt: expected, but missing: "
            "the file with what this role is told",
        ),
        (
            changed("director: {prompt: prompt.md}", "director:"),
            "org.yaml:5: roles.director: expected a block of keys: "
            "name, prompt, model, temperature, reasoning_effort, max_tokens, exploration",
        ),
        (
            changed("- {name: optimizer, prompt: prompt.md}", "{name: optimizer}"),
            "org.yaml:6: roles.hypothesis: expected a list, each entry after a '-'",
        ),
        (
            changed("    - {name: optimizer, prompt: prompt.md}\n", "    []\n"),
            "org.yaml:6: roles.hypothesis: expected at least 1 in this list",
        ),
        (
            changed("{experiments: 6}", "{dollars: 5}"),
            "org.yaml:10: budget: expected experiments or hours, so that a run has an end",
        ),
        (SMALL + "desks: yes\n", "org.yaml:11: desks: expected auto, or how many, not True"),
        (
            SMALL + "desks:\n",
            "org.yaml:11: desks: expected auto, or how many, not None",
        ),
        (
            SMALL + "zzz: 1\n",
            "org.yaml:11: zzz: no such key; there could be lab, desks, devices, sandbox, precedence, approval, trial, review",
        ),
        (
            SMALL + "trial: {threads: 1.5}\n",
            "org.yaml:11: trial.threads: expected a whole number, not 1.5",
        ),
        (
            SMALL + "trial: {seconds: .inf}\n",
            "org.yaml:11: trial.seconds: expected a finite number, not inf",
        ),
        (
            SMALL + "review: {baseline_runs: 1}\n",
            "org.yaml:11: review.baseline_runs: expected at least 2, not 1",
        ),
        (
            SMALL + "review: {certify_every: 0}\n",
            "org.yaml:11: review.certify_every: expected at least 1, not 0",
        ),
        (
            SMALL + "review: {max_seeds: 1}\n",
            "org.yaml:11: review.max_seeds: expected at least 2, not 1",
        ),
        (
            SMALL + f"review: {{max_seeds: {SEEDS_EACH + 1}}}\n",  # or two would share seeds
            f"org.yaml:11: review.max_seeds: expected at most {SEEDS_EACH}, not {SEEDS_EACH + 1}",
        ),
        *(
            (
                SMALL + f"devices: {devices}\n",
                "org.yaml:11: devices: expected auto, how many, or different ones of one kind, "
                f"such as [cuda:0, cuda:1], not {shown}",
            )
            for devices, shown in (
                ("0", "0"),
                ("[]", "[]"),
                ("tpu", "'tpu'"),
                ("[cuda]", "['cuda']"),  # of which no trial would see any
                ("[cuda:0, cuda:0]", "['cuda:0', 'cuda:0']"),
                ("[cuda:0, cpu:0]", "['cuda:0', 'cpu:0']"),
            )
        ),
        (
            changed("model: playbook", "model: {name: playbook, price: 3}"),
            "org.yaml:3: model.price: expected two prices, [read, written], "
            "in dollars per million tokens, not 3",
        ),
        (
            changed("model: playbook", "model: {name: playbook, base_url: localhost}"),
            "org.yaml:3: model.base_url: expected a URL such as http://127.0.0.1:8080/v1, "
            "not 'localhost'",
        ),
        (
            changed("engineer: {", "engineer: {model: 'scripted:no.yaml', "),
            "org.yaml:8: roles.engineer.model: expected a file, but there is no no.yaml",
        ),
    ],
)
def test_an_error_says_what_was_expected_and_where(folder: Path, text: str, expected: str) -> None:
    assert problems(folder, text) == [expected]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("program: a: b\n", 1, "mapping values are not allowed"),
        ("program: program.md\n\tdesks: 2\n", 2, "cannot start any token"),
        ("program: program.md\ndesks: [1, 2\n", 3, "expected ',' or ']'"),
        ("program: program.md\ndesks: *two\n", 2, "undefined alias"),
        ("program: program.md\n\ndesks: \0\n", 3, "not allowed"),
        ("program: program.md\n---\ndesks: 2\n", 2, "another document"),
    ],
)
def test_what_is_not_yaml_is_one_problem_with_its_line(
    folder: Path, text: str, line: int, words: str
) -> None:
    (problem,) = problems(folder, text)
    assert problem.startswith(f"org.yaml:{line}: this is not YAML: ")
    assert words in problem


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        ("desks: !!python/name:os.system\n", "11: desks: this value cannot be read"),
        ("desks: 2026-99-99\n", "11: desks: this value cannot be read"),
        ("lab: &a [*a]\n", "11: lab[0]: an alias may not stand inside of itself"),
        ("[1, 2]: 3\n", "11: expected plain text before the colon"),
    ],
)
def test_strange_yaml_is_a_problem_not_a_traceback(
    folder: Path, addition: str, expected: str
) -> None:
    assert any(expected in problem for problem in problems(folder, SMALL + addition))


@pytest.mark.parametrize("text", ["", "# nothing\n", "- 1\n", "program.md\n"])
def test_a_text_without_keys_is_told_which_there_are(folder: Path, text: str) -> None:
    (problem,) = problems(folder, text)
    assert problem.startswith("org.yaml:1: expected a block of keys: program, train, lab, ")


def test_names_are_each_for_one_also_where_other_things_are_wrong(folder: Path) -> None:
    text = changed(
        "    - {name: optimizer, prompt: prompt.md}\n",
        "    - {name: optimizer, prompt: prompt.md, temperature: 9}\n"
        "    - {name: optimizer, prompt: prompt.md}\n"
        "    - {name: lab, prompt: prompt.md}\n",
    )
    assert problems(folder, text) == [
        "org.yaml:7: roles.hypothesis[0].temperature: expected at most 2, not 9",
        "org.yaml:8: roles.hypothesis[1].name: expected another name, "
        "'optimizer' is taken already, in line 7",
        "org.yaml:9: roles.hypothesis[2].name: expected another name, "
        "'lab' means someone else in the discussion",
    ]


@pytest.mark.parametrize("place", NODES)
def test_an_adviser_is_not_named_after_a_place_of_the_chart(folder: Path, place: str) -> None:
    adviser = f"{{name: {place}, prompt: prompt.md, before: engineer}}"
    text = changed("budget:", f"  advisers:\n    - {adviser}\nbudget:")
    assert problems(folder, text) == [
        "org.yaml:11: roles.advisers[0].name: expected another name, "
        f"{place!r} means someone else in the discussion",
    ]


@pytest.mark.parametrize("moment", ["", ", before: train, after: train", ", before: lunch"])
def test_an_adviser_has_exactly_one_moment(folder: Path, moment: str) -> None:
    text = changed(
        "budget:", f"  advisers:\n    - {{name: skeptic, prompt: prompt.md{moment}}}\nbudget:"
    )
    (problem,) = problems(folder, text)
    assert problem.startswith("org.yaml:11: roles.advisers[0]")
    assert "direct, hypothesize, engineer, screen, train, review" in problem.replace(
        "'", ""
    ).replace(" or ", ", ")


def test_files_must_say_something_and_train_must_compile(folder: Path) -> None:
    (folder / "program.md").write_text(" \n")
    (folder / "prompt.md").write_bytes(b"\xff\xfe")
    (folder / "train.py").write_text("x = 1\ndef f(:\n")
    text = changed("engineer: {prompt: prompt.md}", "engineer: {prompt: .}")
    shown = problems(folder, text)
    assert shown[0] == "org.yaml:1: program: expected some text, but program.md is empty"
    assert shown[1].startswith("org.yaml:2: train: expected Python, but train.py does not compile")
    assert "line 2" in shown[1]
    assert (
        shown[2] == "org.yaml:5: roles.director.prompt: expected text, but prompt.md is not UTF-8"
    )
    assert shown[4].startswith("org.yaml:8: roles.engineer.prompt: expected a file, but ")


def test_the_text_alone_can_be_read_where_nothing_is_to_be_run(folder: Path) -> None:
    for name in ("program.md", "prompt.md", "train.py"):
        (folder / name).unlink()
    text = changed("model: playbook", "model: openai:small")
    assert load(folder, text, to_run=False).model.target == "small"
    assert len(problems(folder, text)) == 7
    assert problems(folder, text + "desk: 2\n", to_run=False) == [
        "org.yaml:11: desk: no such key (did you mean 'desks'?)"
    ]


@pytest.mark.parametrize(
    "base_url",
    [
        "http://localhost:8080/v1",
        "http://127.0.0.1:8080/v1",
        "http://[::1]:8080/v1",
        "http://192.168.1.5/v1",
        "http://ollama:11434/v1",
        "http://box.local/v1",
    ],
)
def test_a_language_model_close_by_needs_no_key(
    folder: Path, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = f"model: {{name: 'openai:small', base_url: '{base_url}'}}"
    assert load(folder, changed("model: playbook", model)).model.base_url == base_url
    monkeypatch.setenv("OPENAI_BASE_URL", base_url)
    assert load(folder, changed("model: playbook", "model: openai:small")).model.base_url is None


@pytest.mark.parametrize("base_url", ["", ", base_url: 'https://api.example.com/v1'"])
def test_any_other_language_model_needs_a_key(
    folder: Path, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = changed("model: playbook", f"model: {{name: 'openai:small'{base_url}}}")
    (problem,) = problems(folder, text)
    assert problem.startswith(
        "org.yaml:3: model.name: openai:small needs a key: set OPENAI_API_KEY"
    )
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert "secret" not in repr(load(folder, text))


def test_a_variable_that_holds_the_key_must_be_set_wherever_the_endpoint_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = "base_url: 'http://127.0.0.1:1/v1', key_variable: SOME_KEY"
    text = changed("model: playbook", f"model: {{name: 'openai:small', {local}}}")
    (problem,) = problems(folder, text)
    assert problem.startswith("org.yaml:3: model.name: openai:small needs a key: set SOME_KEY in")
    monkeypatch.setenv("SOME_KEY", "secret")
    assert load(folder, text).model.key_variable == "SOME_KEY"


def test_a_key_in_the_place_of_its_variable_is_not_repeated(folder: Path) -> None:
    model = "model: {name: 'openai:small', key_variable: sk-secret-0123}"
    (problem,) = problems(folder, changed("model: playbook", model), to_run=False)
    assert problem.startswith("org.yaml:3: model.key_variable: expected the name of a variable")
    assert "secret" not in problem


def test_a_role_may_differ_from_its_model_in_what_is_its_own(folder: Path) -> None:
    model = "{name: 'openai:small', base_url: 'http://127.0.0.1:1/v1', temperature: 0.5, max_tokens: 900, window: 4096, extra_body: {top_k: 3}}"
    text = changed("model: playbook", f"model: {model}")
    text = text.replace("engineer: {", "engineer: {temperature: 0, reasoning_effort: high, ")
    config = load(folder, text)
    behind = models(config, "cpu:0")
    engineer, reviewer = behind["engineer"], behind["reviewer"]
    assert isinstance(engineer, ChatModel)
    assert isinstance(reviewer, ChatModel)
    assert (engineer.max_tokens, engineer.window) == (900, 4096)
    assert engineer.patience is reviewer.patience
    assert len({config.model_of(role) for role in config.roles.everyone}) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{tools: [], top_k: 3}", "expected nothing that is set already: tools"),
        ("{since: 2020-01-01}", "expected what JSON can say"),
    ],
)
def test_what_a_request_carries_besides_is_json_and_nothing_that_is_set_already(
    folder: Path, body: str, said: str
) -> None:
    text = changed("model: playbook", f"model: {{name: playbook, extra_body: {body}}}")
    (problem,) = problems(folder, text, to_run=False)
    assert problem.startswith(f"org.yaml:3: model.extra_body: {said}")


def test_a_budget_in_dollars_needs_the_price_of_every_language_model(folder: Path) -> None:
    text = changed("{experiments: 6}", "{experiments: 6, dollars: 5}")
    assert load(folder, text, to_run=False).budget.dollars == 5
    common = "model: {name: 'openai:a', price: [1, 2], max_tokens: 9}"
    text = text.replace("model: playbook", common)
    assert load(folder, text, to_run=False).budget.dollars == 5
    text = text.replace("engineer: {", "engineer: {max_tokens: 9, model: 'openai:b', ")
    assert problems(folder, text, to_run=False) == [
        "org.yaml:8: roles.engineer.model: expected a price, as budget.dollars is set: "
        "{name: openai:b, price: [read, written]}"
    ]
    text = text.replace("'openai:b'", "{name: 'openai:b', price: [0, 0]}")
    assert load(folder, text, to_run=False).budget.dollars == 5


def test_a_price_in_the_table_is_known_and_one_in_org_yaml_comes_before_it(folder: Path) -> None:
    text = changed("{experiments: 6}", "{experiments: 6, dollars: 5}")
    text = text.replace("model: playbook", "model: {name: 'openai:gpt-4o', max_tokens: 9}")
    assert load(folder, text, to_run=False).model.known_price == (2.5, 10.0)
    text = text.replace("max_tokens", "price: [0.5, 1], max_tokens")
    assert load(folder, text, to_run=False).model.known_price == (0.5, 1.0)
    text = text.replace("price: [0.5, 1]", "base_url: 'https://example.com/v1'")
    (problem,) = problems(folder, text, to_run=False)
    assert "expected a price" in problem


def test_a_budget_in_dollars_needs_an_end_to_every_reply(folder: Path) -> None:
    text = changed("{experiments: 6}", "{experiments: 6, dollars: 5}")
    text = text.replace("model: playbook", "model: 'openai:gpt-4o'")
    assert problems(folder, text, to_run=False) == [
        "org.yaml:3: model: expected max_tokens, as budget.dollars is set: how long a reply may be"
    ]
    for role in ("director: {", "engineer: {", "reviewer: {", "- {"):
        text = text.replace(role, f"{role}max_tokens: 9, ")
    assert load(folder, text, to_run=False).budget.dollars == 5


def test_a_file_that_is_not_there_is_one_line_that_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; `python -m org init DIR`"):
        load_config(tmp_path / "org.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    (tmp_path / "org.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not a text in UTF-8"):
        load_config(tmp_path / "org.yaml")


def test_somebody_of_the_starting_organization_knows_each_category() -> None:
    roles = load_config(ROOT / "org.yaml", to_run=False).roles
    known = " ".join(role.focus for role in roles.hypothesis)
    assert [category for category in get_args(Category) if category not in known] == []


def test_reading_a_configuration_loads_no_heavy_library() -> None:
    loaded = "import sys, org.config_reading; print(*(m.partition('.')[0] for m in sys.modules))"
    done = subprocess.run(
        (sys.executable, "-c", loaded), capture_output=True, text=True, check=True
    )
    assert not {"torch", "numpy", "langchain_core", "langgraph", "pyarrow"} & set(
        done.stdout.split()
    )
