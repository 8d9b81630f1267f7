"""Ansible's standard output: how long each play took, and how many outputs were what they must be."""

import json
import sys
import time

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: phases
type: stdout
short_description: times of plays as JSON lines
description: Plays are named after phases.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "phases"

    def __init__(self):
        super().__init__()
        self.phase, self.began, self.right = None, None, 0

    def told(self):
        now = time.monotonic()
        if self.phase:
            print(json.dumps({"phase": self.phase, "seconds": now - self.began}), flush=True)
        self.began = now

    def v2_playbook_on_play_start(self, play):
        self.told()
        self.phase = play.get_name()

    def v2_playbook_on_stats(self, stats):
        self.told()
        print(json.dumps({"phase": "right", "outputs": self.right}), flush=True)

    def v2_runner_on_ok(self, result):
        for one in result.result.get("results", []):
            if one["stdout"].strip() == f"{result.host} {one['item']}":
                self.right += 1
            else:
                print(result.host, one, file=sys.stderr)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        print(result.host, result.result, file=sys.stderr)

    v2_runner_on_unreachable = v2_runner_on_failed
