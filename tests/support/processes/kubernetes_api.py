"""As much of a Kubernetes cluster as JAX asks for: an indexed job of some pods on this machine.

The API server answers over TLS from this process. A pod is a process in a mount namespace of its
own, where the service account and the names of the cluster lie at the places the real ones have.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NAMESPACE, JOB, SUBDOMAIN, TOKEN = "lab", "train", "peers", "secret"
PREFIX = "mount -t tmpfs none /var/run && mkdir -p /var/run/secrets/kubernetes.io && "
PREFIX += "cp -r {account} /var/run/secrets/kubernetes.io/serviceaccount && "
PREFIX += 'mount --bind {hosts} /etc/hosts && exec "$@"'
_CERTIFICATE = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
_CERTIFICATE += " -addext subjectAltName=IP:127.0.0.1 -keyout {folder}/key -out {folder}/ca.crt"


def resources(pods: int) -> dict[str, Any]:
    """Return what the API server knows, by path."""
    labels = {"job-name": JOB}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": JOB, "uid": "1", "controller": True}
    pod = {
        "metadata": {"name": f"{JOB}-0", "labels": labels, "ownerReferences": [owner]},
        "spec": {"containers": [], "subdomain": SUBDOMAIN},
    }
    job = {
        "metadata": {"name": JOB, "labels": labels},
        "spec": {"parallelism": pods, "template": {"spec": {"containers": []}}},
    }
    return {
        f"/api/v1/namespaces/{NAMESPACE}/pods": {"items": [pod]},
        f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{JOB}": job,
    }


@contextmanager
def cluster(folder: Path, pods: int) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield the command that puts a process into a pod, and the variables that each pod has."""
    account, hosts, known = folder / "account", folder / "hosts", resources(pods)
    account.mkdir()
    subprocess.run(_CERTIFICATE.format(folder=account).split(), check=True, capture_output=True)
    (account / "token").write_text(TOKEN)
    (account / "namespace").write_text(NAMESPACE)
    # The last name is what this machine calls itself, which the CPU's collectives look up.
    hosts.write_text(f"127.0.0.1 localhost pod {JOB}-0.{SUBDOMAIN} {socket.gethostname()}\n")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == f"bearer {TOKEN}"
            found = known.get(self.path.split("?")[0]) if allowed else None
            self.send_response(200 if found else 403)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(found or {}).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(account / "ca.crt", account / "key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        script = PREFIX.format(account=account, hosts=hosts)
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "pod"]
        yield (
            command,
            {
                "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                "KUBERNETES_SERVICE_PORT": str(server.server_address[1]),
                "HOSTNAME": "pod",
            },
        )
        server.shutdown()
