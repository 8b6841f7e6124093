"""What `org check` finds, on a machine where something is missing or nothing is."""

from __future__ import annotations

from pathlib import Path

import pytest

from org.checkup import NETWORK_FILE_SYSTEMS, Finding, checkup, file_system
from org.lab import exclusive
from tests.openai_server import OpenAIServer
from trainer.dataset import build_dataset
from trainer.setting import Setting, default_cache

SECRET = "sk-nobody-may-see-this"


class Organization:
    """An org.yaml in a folder of its own, and a home that is empty."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        self.folder = folder
        self.setting = setting
        self.lines = {
            "program": "program.md",
            "train": "train.py",
            "model": "playbook",
            "roles": "{director: {prompt: p.md}, hypothesis: [{name: optimizer, prompt: p.md}],"
            " engineer: {prompt: p.md}, reviewer: {prompt: p.md}}",
            "devices": "[cpu:0]",
            "budget": "{experiments: 1}",
            "trial": setting.model_dump_json(exclude={"seconds", "startup_seconds"}),
        }
        for name in ("program.md", "p.md"):
            (folder / name).write_text("Lower val_bpb.\n")
        (folder / "train.py").write_text("print('training')\n")

    def check(self, lab: Path | None = None) -> dict[str, Finding]:
        """What is found, by name; of several with one name the last."""
        text = "".join(f"{name}: {value}\n" for name, value in self.lines.items())
        (self.folder / "org.yaml").write_text(text)
        return {found.name: found for found in checkup(self.folder / "org.yaml", lab)}


@pytest.fixture
def organization(
    tmp_path: Path, tiny_setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> Organization:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "organization"
    folder.mkdir()
    return Organization(folder, tiny_setting)


def test_everything_that_a_run_needs_is_looked_at(organization: Organization):
    found = organization.check()
    assert list(found) == [
        *("config", "train.py", "model", "device", "corpus", "sandbox"),
        *("git", "lab", "disk", "memory"),
    ]
    assert [
        name
        for name in ("config", "train.py", "model", "device", "corpus", "git")
        if not found[name].ok
    ] == []


def test_a_lab_that_is_not_there_is_not_begun(organization: Organization):
    organization.check()
    assert not (organization.folder / "labs").exists()


def test_errors_of_the_config_are_a_line_each_and_the_machine_is_looked_at_all_the_same(
    organization: Organization,
):
    organization.lines |= {"modle": "playbook", "desks": "0"}
    organization.check()
    findings = list(checkup(organization.folder / "org.yaml", organization.folder / "lab"))
    wrong = [found.text for found in findings if found.name == "config"]
    assert len(wrong) == 2
    assert not any("\n" in text for text in wrong)
    assert [found.name for found in findings[2:]] == ["git", "lab", "disk", "memory"]


def test_a_missing_config_is_a_finding(tmp_path: Path):
    first, *_ = checkup(tmp_path / "org.yaml", None)
    assert (first.name, first.ok) == ("config", False)
    assert "no such file" in first.text


def test_the_device_says_what_a_trial_will_use(organization: Organization):
    text = organization.check()["device"].text
    for fact in ("cpu:0", "profile cpu", "20 s a trial", "1 thread", "core", "32 tokens"):
        assert fact in text


def test_a_cuda_device_that_is_not_there_is_found_out(organization: Organization):
    organization.lines["devices"] = "[cuda:no-such-one]"
    found = organization.check()
    assert not found["device"].ok
    assert "cuda:no-such-one" in found["device"].text
    assert "corpus" not in found


# --- corpus -------------------------------------------------------------------------------------


def test_a_corpus_is_prepared_already_or_will_be(organization: Organization):
    before = organization.check()["corpus"]
    assert before.ok
    assert "will be prepared" in before.text
    build_dataset(organization.setting, default_cache())
    after = organization.check()["corpus"]
    assert after.ok
    assert "is prepared" in after.text


@pytest.mark.parametrize(
    ("corpus", "how"),
    [
        ("kjv", "will be prepared"),
        ("climbmix", "will be downloaded (about 1.1 GB) and prepared"),
        ("climbmix:2", "will be downloaded (about 0.3 GB) and prepared"),
    ],
)
def test_how_much_a_corpus_downloads_is_said_beforehand(
    organization: Organization, corpus: str, how: str
):
    organization.lines["trial"] = f"{{profile: cpu, corpus: '{corpus}'}}"
    found = organization.check()["corpus"]
    assert found.ok
    assert f"{corpus} {how}" in found.text


def test_a_corpus_that_matches_no_file_is_a_finding(organization: Organization):
    organization.lines["trial"] = '{profile: cpu, corpus: "files:none/*.txt"}'
    found = organization.check()["corpus"]
    assert not found.ok
    assert "matches no" in found.text


def test_a_prepared_corpus_too_small_for_the_context_is_a_finding(organization: Organization):
    build_dataset(organization.setting, default_cache())
    organization.lines["trial"] = organization.lines["trial"].replace(
        f'"sequence_length":{organization.setting.sequence_length}', '"sequence_length": 1000000'
    )
    found = organization.check()["corpus"]
    assert not found.ok
    assert "too small" in found.text


# --- models -------------------------------------------------------------------------------------


def test_an_endpoint_that_answers_is_fine_and_the_key_is_not_shown(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with OpenAIServer(["{}"]) as server:
        organization.lines["model"] = f"{{name: 'openai:tiny', base_url: {server.url}}}"
        found = organization.check()
    assert found["model"].ok
    assert "openai:tiny for director, optimizer, engineer, reviewer" in found["model"].text
    assert "a key is set" in found["model"].text
    assert not any(SECRET in each.text for each in found.values())


def test_an_endpoint_that_refuses_the_key_is_a_finding_without_the_key(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with OpenAIServer([], key="another") as server:
        organization.lines["model"] = f"{{name: 'openai:tiny', base_url: {server.url}}}"
        found = organization.check()
    assert not found["model"].ok
    assert "401" in found["model"].text
    assert not any(SECRET in each.text for each in found.values())


def test_an_endpoint_that_nobody_listens_at_is_a_finding(organization: Organization):
    with OpenAIServer([]) as server:
        url = server.url
    organization.lines["model"] = f"{{name: 'openai:tiny', base_url: {url}}}"
    found = organization.check()["model"]
    assert not found.ok
    assert "cannot be reached" in found.text


def test_dollars_that_no_call_of_a_role_fits_into_are_a_finding(organization: Organization):
    with OpenAIServer(["{}"]) as server:
        organization.lines["model"] = (
            f"{{name: 'openai:tiny', base_url: {server.url}, price: [0, 100], max_tokens: 1000}}"
        )
        organization.lines["budget"] = "{experiments: 1, dollars: 0.05}"
        found = organization.check()["dollars"]
        assert not found.ok
        assert "fits into budget.dollars: it may cost more than $0.10 of $0.05" in found.text
        organization.lines["budget"] = "{experiments: 1, dollars: 1}"
        assert "dollars" not in organization.check()


def test_a_proxy_that_cannot_be_used_is_a_finding(
    organization: Organization, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ALL_PROXY", "nonsense://nowhere")
    organization.lines["model"] = "{name: 'openai:tiny', base_url: 'http://192.0.2.1/v1'}"
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert not organization.check()["model"].ok


def test_a_script_that_is_no_list_is_a_finding(organization: Organization):
    (organization.folder / "script.yaml").write_text("director: hello\n")
    organization.lines["model"] = "scripted:script.yaml"
    found = organization.check()["model"]
    assert not found.ok
    assert "script.yaml" in found.text


# --- lab ----------------------------------------------------------------------------------------


def test_a_lab_in_use_is_a_finding_and_a_free_one_is_not(organization: Organization):
    lab = organization.folder / "lab"
    with exclusive(lab):
        found = organization.check(lab)["lab"]
    assert not found.ok
    assert "in use" in found.text
    assert organization.check(lab)["lab"].ok


def test_a_lab_where_a_file_stands_is_a_finding(organization: Organization):
    found = organization.check(organization.folder / "train.py" / "lab")["lab"]
    assert not found.ok
    assert "cannot be written" in found.text


def test_a_network_file_system_is_known_by_the_mount_nearest_above(tmp_path: Path):
    home = tmp_path.resolve()
    mounts = {"/": "ext4", str(home / "far"): "nfs4"}
    (home / "link").symlink_to(home / "far")
    assert file_system(home / "far" / "labs" / "one", mounts) == "nfs4"
    assert file_system(home / "link" / "labs", mounts) == "nfs4"
    assert file_system(home / "farther", mounts) == "ext4"
    assert "nfs4" in NETWORK_FILE_SYSTEMS
    assert "ext4" not in NETWORK_FILE_SYSTEMS
