"""apache-libcloud's CloudStack driver, unchanged, against a real manager."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest
from clients_cloud import Running
from libcloud.compute.drivers.cloudstack import CloudStackNetworkOffering, CloudStackNodeDriver
from libcloud.compute.types import NodeState

PRIVATE = "first-network"


@pytest.fixture
def driver(running: Running) -> Any:
    """The driver with admin's keys; it asks for a job's end often, to be quick."""
    url = urlsplit(running.endpoint)
    made = CloudStackNodeDriver(
        key=running.about["apikey"],
        secret=running.about["secretkey"],
        secure=False,
        host=url.hostname,
        port=url.port,
        path=url.path,
    )
    made.connection.poll_interval = 0.05
    return made


def parts(driver: Any) -> dict[str, Any]:
    """Where, from what and how large a machine is made."""
    return {
        "location": driver.list_locations()[0],
        "image": next(i for i in driver.list_images() if i.name == "tiny-linux"),
        "size": next(s for s in driver.list_sizes() if s.name == "Tiny"),
        "networks": [n for n in driver.ex_list_networks() if n.name == PRIVATE],
    }


def state_of(driver: Any, node: Any) -> str | None:
    """The state that the list shows, or None when it shows no such machine."""
    return next((n.state for n in driver.list_nodes() if n.id == node.id), None)


def test_what_there_is(driver: Any) -> None:
    """Zones, images, sizes, networks, offerings and limits are listed with what the driver needs of them."""
    chosen = parts(driver)
    assert chosen["location"].name == "zone1"
    assert chosen["image"].extra["hypervisor"] == "Simulator"
    assert chosen["image"].extra["os"] == "Other Linux (64-bit)"
    assert chosen["size"].ram == 256
    assert chosen["networks"][0].zoneid == chosen["location"].id
    assert driver.ex_list_disk_offerings()
    assert driver.list_volumes()
    assert "Other Linux (64-bit)" in {o["description"] for o in driver.ex_list_os_types()}
    assert driver.ex_list_projects() == []
    assert [a.address for a in driver.ex_list_public_ips()] == ["172.30.251.10"]
    assert driver.ex_list_port_forwarding_rules() == []
    assert driver.ex_list_ip_forwarding_rules() == []


def test_a_machine_lives_and_dies(driver: Any) -> None:
    """Deploy, list, stop, start, reboot and destroy a machine; the list follows at every step."""
    name = f"lib-{uuid.uuid4().hex[:8]}"
    node = driver.create_node(name=name, ex_displayname=name, ex_start_vm=True, ex_userdata="#!/bin/sh\n", **parts(driver))
    assert node.name == name
    assert node.state == NodeState.RUNNING
    assert node.private_ips[0].startswith("10.1.1.")
    assert node.extra["zone_name"] == "zone1"
    assert state_of(driver, node) == NodeState.RUNNING
    assert driver.ex_get_node(node.id).name == name

    assert driver.ex_stop(node) == "Stopped"
    assert state_of(driver, node) == NodeState.STOPPED
    assert driver.ex_start(node) == "Running"
    assert driver.reboot_node(node) is True
    assert state_of(driver, node) == NodeState.RUNNING

    assert driver.destroy_node(node, ex_expunge=True) is True
    assert state_of(driver, node) is None


def test_a_machine_that_is_not_started(driver: Any) -> None:
    """A machine made without starting is stopped, and starts when told to."""
    name = f"cold-{uuid.uuid4().hex[:8]}"
    node = driver.create_node(name=name, ex_start_vm=False, **parts(driver))
    assert state_of(driver, node) == NodeState.STOPPED
    assert driver.ex_start(node) == "Running"
    assert driver.destroy_node(node, ex_expunge=True) is True


def test_key_pairs(driver: Any) -> None:
    """Key pairs are made, imported, found, used for a machine and deleted."""
    made = driver.create_key_pair("lib-made")
    assert "PRIVATE KEY" in made.private_key
    assert made.fingerprint.count(":") == 15
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    public = ed25519.Ed25519PrivateKey.generate().public_key()
    line = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    driver.import_key_pair_from_string("lib-imported", line)
    assert {k.name for k in driver.list_key_pairs()} >= {"lib-made", "lib-imported"}
    assert driver.get_key_pair("lib-made").fingerprint == made.fingerprint

    node = driver.create_node(name="with-key", ex_keyname="lib-made", ex_start_vm=True, **parts(driver))
    (shown,) = driver._sync_request("listVirtualMachines", params={"id": node.id})["virtualmachine"]
    assert shown["keypairs"] == "lib-made"
    assert driver.destroy_node(node, ex_expunge=True) is True
    for name in ("lib-made", "lib-imported"):
        driver.delete_key_pair(driver.get_key_pair(name))  # its answer compares a boolean with a word: never True
    assert not {k.name for k in driver.list_key_pairs()} & {"lib-made", "lib-imported"}


def test_tags(driver: Any) -> None:
    """Tags are put on a machine, seen with it, and taken away."""
    node = next(n for n in driver.list_nodes() if n.name == "first")
    assert driver.ex_create_tags([node.id], "UserVm", {"Region": "Canada"}) is True
    assert driver.ex_get_node(node.id).extra["tags"] == {"Region": "Canada"}
    assert driver.ex_delete_tags([node.id], "UserVm", ["Region"]) is True
    assert driver.ex_get_node(node.id).extra["tags"] == {}


def test_networks(driver: Any) -> None:
    """A network is made and deleted."""
    # The driver's own list wants the machine offering of each network's router; routers here are no machines.
    (about, *_) = driver._sync_request("listNetworkOfferings", params={"guestiptype": "Isolated"})["networkoffering"]
    offering = CloudStackNetworkOffering(about["name"], "", "Isolated", about["id"], "", False, driver)
    location = driver.list_locations()[0]
    made = driver.ex_create_network(
        display_text="a network of a client", name="lib-network", network_offering=offering, location=location
    )
    assert made.name == "lib-network"
    assert "lib-network" in {n.name for n in driver.ex_list_networks()}
    assert driver.ex_delete_network(made) is True
    assert "lib-network" not in {n.name for n in driver.ex_list_networks()}


def test_refusals(driver: Any, running: Running) -> None:
    """A refused deploy raises the API's own sentence; wrong keys are said to be so."""
    from libcloud.common.types import InvalidCredsError, ProviderError

    chosen = parts(driver)
    with pytest.raises(ProviderError, match="at most 63 letters"):
        driver.create_node(name="no_label!", ex_start_vm=True, **chosen)
    url = urlsplit(running.endpoint)
    stranger = CloudStackNodeDriver(
        key=running.about["apikey"], secret="wrong", secure=False, host=url.hostname, port=url.port, path=url.path
    )
    with pytest.raises(InvalidCredsError):
        stranger.list_locations()
