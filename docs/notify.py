"""Send a message to a webhook whenever a scheduled run fails or crashes:

    .venv/bin/python docs/notify.py https://hooks.slack.com/services/…

For everything that takes ``{"text": …}``: Slack, Mattermost, Google Chat, a program of your own. The Prefect
server must be up. A second call replaces what the first has made.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from flows.cli.common import enter
from flows.servers.prefect import api_of

NAME = "adasde-tell-failures"
SUBJECT = "{{ flow.name }} run {{ flow_run.name }}: {{ flow_run.state.name }}"
BODY = "{{ flow_run.state.message }}\nPAGES/runs/flow-run/{{ flow_run.id }}"


def main(url: str) -> None:
    """Make the automation, and the block with the address of the webhook."""
    os.environ["PREFECT_API_URL"] = api_of(enter(Path()))
    from prefect.automations import Automation, EventTrigger
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.events.actions import SendNotification
    from prefect.settings import get_current_settings

    body = BODY.replace("PAGES", str(get_current_settings().ui_url))
    webhook = CustomWebhookNotificationBlock(name=NAME, url=url, json_data={"text": "{{subject}}\n{{body}}"})
    block = webhook.save(NAME, overwrite=True)
    with suppress(ValueError):
        Automation.read(name=NAME).delete()
    Automation(
        name=NAME,
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "deployment"},
            for_each={"prefect.resource.id"},
            posture="Reactive",
            threshold=1,
            within=timedelta(0),
        ),
        actions=[SendNotification(block_document_id=block, subject=SUBJECT, body=body)],
    ).create()
    print(f"failures of scheduled runs go to {url}")


if __name__ == "__main__":
    main(sys.argv[1])
