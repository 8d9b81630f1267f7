"""parallel-ssh as a contender: one ParallelSSHClient, whose connections stay open.

usage: parallel_ssh.py FOLDER HOSTS COMMANDS
"""

import json
import sys
import time

from gevent import joinall
from pssh.clients import ParallelSSHClient

folder, hosts, commands = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
addresses = [f"127.1.0.{number}" for number in range(1, hosts + 1)]
began = time.monotonic()


def told(phase):
    global began
    now = time.monotonic()
    print(json.dumps({"phase": phase, "seconds": now - began}), flush=True)
    began = now


client = ParallelSSHClient(
    addresses,
    user="root",
    pkey=f"{folder}/client",
    allow_agent=False,
    identity_auth=False,
    pool_size=hosts,
)
joinall(client.connect_auth(), raise_error=True)
told("connect")

files = [
    {"local_file": f"{folder}/file", "remote_file": f"{folder}/pushed/{address}"}
    for address in addresses
]
joinall(client.copy_file("%(local_file)s", "%(remote_file)s", copy_args=files), raise_error=True)
told("push")


def run(command):
    for number in range(commands):
        outputs = client.run_command(
            command, host_args=[f"{address} {number}" for address in addresses]
        )
        client.join(outputs)
        for address, output in zip(addresses, outputs, strict=True):
            lines = list(output.stdout)
            if lines != [f"{address} {number}"] or output.exit_code != 0:
                sys.exit(f"{address} {number}: {lines}, status {output.exit_code}")


run("/bin/echo %s")
told("commands")
# As vexp's are: what hangs is ended on the far side, even if the connection is lost.
run("timeout -k 2 60 /bin/echo %s")
told("otherwise")
