"""The last look: in the log of the whole run stands no secret and no prompt. Runs after every other test."""

from pathlib import Path

from tests import planted


def test_no_secret_and_no_prompt_stands_in_any_log_of_this_run(logs: Path) -> None:
    texts = {str(file): file.read_text(errors="replace") for file in logs.rglob("*.log")}
    everything = "".join(texts.values())
    assert everything, "there must be a log to look at"
    found = {(name, secret) for name, text in texts.items() for secret in planted.SECRETS if secret in text}
    assert found == set()
