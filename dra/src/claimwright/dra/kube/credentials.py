"""Where the API server is and how to prove who one is: kubeconfig files and in-cluster accounts."""

from __future__ import annotations

import base64
import binascii
import json
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from claimwright.dra.errors import DraError

SERVICE_ACCOUNT_FOLDER: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# Bound service account tokens are rotated on disk; client-go re-reads them once a minute as well.
_TOKEN_LIFETIME_SECONDS: Final = 60.0


class MalformedKubeconfig(DraError):
    """A kubeconfig that cannot be used; the message names file, field and what was expected."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API server's address, its TLS context (None for plain HTTP), and the request's authorization."""

    server: str
    tls: ssl.SSLContext | None
    authorization: Callable[[], str | None]
    namespace: str = "default"
    # A credential plugin is a program that may take seconds: not on an event loop.
    authorization_blocks: bool = False


def from_kubeconfig(path: Path, *, context: str | None = None) -> Credentials:
    """Read a kubeconfig file; raises MalformedKubeconfig."""
    file = _KubeconfigFile.load(Path(path))
    chosen = context or file.document.get("current-context")
    if not chosen:
        raise file.error("current-context", chosen, f"a context name, one of {file.names('contexts')}")
    scope = file.entry("contexts", str(chosen), "context")
    cluster = file.entry("clusters", file.text(scope, "cluster", f"contexts[{chosen}].context"), "cluster")
    user_name = scope.get("user")
    user = file.entry("users", str(user_name), "user") if user_name else {}
    server = file.text(cluster, "server", f"clusters[{scope['cluster']}].cluster")
    if not server.startswith(("https://", "http://")):
        raise file.error(
            f"clusters[{scope['cluster']}].cluster.server", server, "an http:// or https:// address"
        )
    tls = _tls(file, cluster, user) if server.startswith("https://") else None
    return Credentials(
        server.rstrip("/"),
        tls,
        _authorization(file, user),
        str(scope.get("namespace") or "default"),
        authorization_blocks=bool(user.get("exec")),
    )


def in_cluster(
    folder: Path = SERVICE_ACCOUNT_FOLDER, environment: Mapping[str, str] = os.environ
) -> Credentials:
    """Use the pod's service account; raises MalformedKubeconfig outside a pod."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    token = folder / "token"
    if not host or not token.is_file():
        raise MalformedKubeconfig(
            "not in a cluster: KUBERNETES_SERVICE_HOST or the service account token is missing; "
            "give a kubeconfig"
        )
    namespace = folder / "namespace"
    return Credentials(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        tls=ssl.create_default_context(cafile=str(folder / "ca.crt")),
        authorization=token_file(token),
        namespace=namespace.read_text().strip() if namespace.is_file() else "default",
    )


def token_file(path: Path) -> Callable[[], str | None]:
    """Give the bearer header of a token file, read again once a minute."""
    cached, read_at = "", float("-inf")

    def authorization() -> str | None:
        nonlocal cached, read_at
        if time.monotonic() - read_at > _TOKEN_LIFETIME_SECONDS:
            cached, read_at = f"Bearer {path.read_text().strip()}", time.monotonic()
        return cached

    return authorization


def _loaded(text: str) -> object:
    """Read YAML, of which JSON is a part that needs no parser of 4 MB; ValueError when it is neither."""
    try:
        return json.loads(text)
    except ValueError:
        import yaml  # noqa: PLC0415  # a driver in a pod, which has no kubeconfig, does not pay for it
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


@dataclass(frozen=True, slots=True)
class _KubeconfigFile:
    path: Path
    document: Mapping[str, Any]

    @classmethod
    def load(cls, path: Path) -> _KubeconfigFile:
        try:
            document = _loaded(path.read_text())
        except OSError as error:
            raise MalformedKubeconfig(f"kubeconfig {path}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise MalformedKubeconfig(f"kubeconfig {path}: is not YAML: {error}") from error
        if not isinstance(document, dict):
            raise MalformedKubeconfig(
                f"kubeconfig {path}: holds {type(document).__name__}, expected a Config object"
            )
        return cls(path, document)

    def error(self, field: str, value: object, expected: str) -> MalformedKubeconfig:
        return MalformedKubeconfig(f"kubeconfig {self.path}: {field} is {value!r}, expected {expected}")

    def names(self, section: str) -> list[str]:
        entries = self.document.get(section) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.error(section, entries, "a list of named entries")
        return [str(entry.get("name")) for entry in entries]

    def entry(self, section: str, name: str, key: str) -> Mapping[str, Any]:
        names = self.names(section)
        if name not in names:
            raise self.error(section, names, f"an entry named {name!r}")
        value = self.document[section][names.index(name)].get(key)
        if not isinstance(value, dict):
            raise self.error(f"{section}[{name}].{key}", value, "an object")
        return value

    def text(self, parent: Mapping[str, Any], key: str, at: str) -> str:
        value = parent.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(f"{at}.{key}", value, "a text")
        return value

    def data(self, parent: Mapping[str, Any], key: str) -> bytes | None:
        """Read `<key>-data` (base64) or the file named by `<key>`, relative to the kubeconfig."""
        inline = parent.get(f"{key}-data")
        if inline:
            try:
                return base64.b64decode(str(inline), validate=True)
            except binascii.Error as error:
                raise self.error(f"{key}-data", "…", f"base64 ({error})") from error
        if not parent.get(key):
            return None
        file = self.path.parent / str(parent[key])
        try:
            return file.read_bytes()
        except OSError as error:
            raise self.error(key, str(file), f"a readable file ({error.strerror})") from error


def _authorization(file: _KubeconfigFile, user: Mapping[str, Any]) -> Callable[[], str | None]:
    if user.get("tokenFile"):
        path = file.path.parent / str(user["tokenFile"])
        if not path.is_file():
            raise file.error("tokenFile", str(path), "a readable file")
        return token_file(path)
    if user.get("token"):
        bearer = f"Bearer {user['token']}"
        return lambda: bearer
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}"
        basic = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return lambda: basic
    if isinstance(user.get("exec"), dict):
        from claimwright.dra.kube.exec_plugin import exec_token  # noqa: PLC0415  # needs subprocess

        return exec_token(user["exec"], folder=file.path.parent)
    if user.get("auth-provider"):
        raise file.error("auth-provider", user["auth-provider"], "exec, which replaced it in Kubernetes 1.26")
    return lambda: None


def _tls(file: _KubeconfigFile, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    authority = file.data(cluster, "certificate-authority")
    try:
        context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    except (ssl.SSLError, ValueError) as error:
        raise file.error("certificate-authority", "…", f"PEM certificates ({error})") from error
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = file.data(user, "client-certificate"), file.data(user, "client-key")
    if (certificate is None) != (key is None):
        raise file.error("client-certificate and client-key", "one of the two", "both or none")
    if certificate and key:
        try:
            _load_client_certificate(context, certificate, key)
        except ssl.SSLError as error:
            raise file.error(
                "client-certificate", "…", f"a PEM certificate with its key ({error})"
            ) from error
    return context


def _load_client_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    # The ssl module reads certificates from files only; the key lives in a private file for this moment.
    with tempfile.TemporaryDirectory(prefix="claimwright-") as folder:
        chain = Path(folder) / "client.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(certificate.rstrip() + b"\n" + key)
        context.load_cert_chain(chain)
