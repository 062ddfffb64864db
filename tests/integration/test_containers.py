"""compose.yaml, as far as it can be shown without Docker: what its containers run, on a real Postgres; and its text."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded import containers
from service.settings import AdminSettings, HooksSettings, MigrateSettings, ResponderSettings
from tests.support import postgres

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def volumes(tmp_path: Path) -> containers.Volumes:
    paths = [tmp_path / name for name in ("postgres-secret", "secrets", "brokers", "device", "ca", "services")]
    for path in (*paths, *(paths[-1] / name for name in containers.SECRETS)):
        path.mkdir()
    return containers.Volumes(*paths)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_set_up_makes_everything_once(volumes: containers.Volumes) -> None:
    """Run again it changes nothing; broker files are whole, private, and hold a secret each."""
    with postgres.private_cluster() as cluster:
        (volumes.postgres_secret / "password").write_text(cluster.superuser_password())
        environ = {"POSTGRES_ADDRESS": f"127.0.0.1:{cluster.port}", "ACCOUNT_ENDPOINT": "mqtts://account-broker:8883"}
        await containers.set_up(volumes, environ)
        before = contents(volumes.secrets.parent)
        await containers.set_up(volumes, environ)
        assert contents(volumes.secrets.parent) == before
        for role in ("provision", "account"):
            path = volumes.brokers / f"{role}.conf"
            assert path.stat().st_mode & 0o777 == 0o600
            host = re.search(r"^auth_opt_http_host (\S+):(\S+)@hooks$", path.read_text(), re.MULTILINE)
            assert host is not None
            assert host[1] == f"{role}-broker"
            assert len(host[2]) == 43
            assert (volumes.brokers / f"{role}-tls" / "key.pem").stat().st_mode & 0o777 == 0o600
            assert f"\nkeyfile {volumes.brokers}/{role}-tls/key.pem\n" in path.read_text()
        _lose_a_broker_file(volumes)
        await containers.set_up(volumes, environ)
        tls = {f"{role}-tls/{name}.pem" for role in ("provision", "account") for name in ("certificate", "key")}
        assert set(contents(volumes.brokers)) == {"provision.conf", "account.conf", *tls}
        assert {path.name for path in volumes.device.iterdir()} == {"ca.pem"}
        for service, names in containers.SECRETS.items():
            assert set(contents(volumes.services / service)) == set(names)
        assert (volumes.ca / "development" / "ca.key").stat().st_mode & 0o777 == 0o600


def _lose_a_broker_file(volumes: containers.Volumes) -> None:
    """As where the step was cut off before it wrote the file: the secret is gone, a new one is made."""
    (volumes.brokers / "account.conf").unlink()


def test_superuser_password_is_made_once(volumes: containers.Volumes) -> None:
    containers.make_superuser_password(volumes)
    first = contents(volumes.postgres_secret)
    containers.make_superuser_password(volumes)
    assert contents(volumes.postgres_secret) == first
    assert len(first["password"]) >= 40


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def test_each_setting_exists_and_no_secret_is_written_down(compose: dict[str, Any]) -> None:
    known: dict[str, bool] = {}
    for settings in (HooksSettings, ResponderSettings, AdminSettings, MigrateSettings):
        known |= {f"PROVISION_{f.name.upper()}": f.metadata["secret"] for f in dataclasses.fields(settings)}
    own = {"PROVISION_BROKER", "ACCOUNT_ENDPOINT"}  # embedded/containers.py
    for service in compose["services"].values():
        for name in service.get("environment", {}):
            if name.startswith("POSTGRES_") or name in own:
                continue
            if name.endswith("_FILE"):
                assert known[name.removesuffix("_FILE")], name
            else:
                assert known[name] is False, name


def test_every_service_is_confined(compose: dict[str, Any]) -> None:
    """No root that stays, no capability that is not needed, ports on loopback only."""
    for name, service in compose["services"].items():
        if name == "postgres":
            continue
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("user") != "0:0" or service["restart"] == "no", name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
    image = compose["services"]["provision-broker"]["image"]
    assert image == compose["services"]["account-broker"]["image"]
    assert image.startswith("iegomez/mosquitto-go-auth:")
    assert ":latest" not in image


def test_each_container_reads_its_own_secrets_only(compose: dict[str, Any]) -> None:
    """D5: keys are separate by purpose. What a container names is what its volume holds."""
    for name, service in compose["services"].items():
        mounted = [volume.split(":")[0] for volume in service.get("volumes", []) if ":/secrets" in volume]
        assert mounted == {
            "setup": ["secrets"],
            "hooks": ["hooks-secrets"],
            "responder": ["responder-secrets"],
            "device": ["administrator-secrets"],
            "admin": ["api-secrets"],
        }.get(name, []), name
        if mounted and name != "setup":
            files = {text for text in service["environment"].values() if str(text).startswith("/secrets/")}
            own = containers.SECRETS[mounted[0].removesuffix("-secrets")]
            assert files == {f"/secrets/{secret}" for secret in own}, name


def test_only_setup_reads_the_cas_key(compose: dict[str, Any]) -> None:
    services = compose["services"].items()
    assert [name for name, service in services if "ca:/ca" in service.get("volumes", [])] == ["setup"]
    assert str(compose).count("'ca:") == 1


def test_hooks_share_no_network_with_devices(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert "devices" not in services["hooks"]["networks"]
    assert compose["networks"]["hooks"] == {"internal": True}
    assert set(services["provision-broker"]["networks"]) == {"hooks", "devices"}


def test_volumes_and_dependencies_are_declared(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"], (name, volume)
        for other in service.get("depends_on", {}):
            assert other in compose["services"], (name, other)


def test_image_holds_what_the_containers_run() -> None:
    """Every folder the image's processes read is copied, and nothing else is sent to the builder."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (?:--\S+ )?(.+) \S+$", dockerfile, re.MULTILINE))
    assert {"service", "sql", "embedded", "mosquitto/go-auth"} <= copied
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)
    assert "--require-hashes" in dockerfile
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert f"{containers.SERVICE_USER}:" in dockerfile
