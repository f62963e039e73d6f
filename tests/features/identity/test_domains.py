"""Domains: a tree with paths, names unique among siblings, removed only when empty."""

from __future__ import annotations

import pytest
from cloud import ApiError, Cloud


def test_a_tree(cloud: Cloud) -> None:
    admin = cloud.admin
    top = admin.createDomain(name="tree", networkdomain="tree.example")
    assert (top["path"], top["level"], top["parentdomainname"], top["networkdomain"]) == (
        "ROOT/tree",
        1,
        "ROOT",
        "tree.example",
    )
    low = admin.createDomain(name="leaf", parentdomainid=top["id"])
    assert (low["path"], low["level"], low["parentdomainid"]) == ("ROOT/tree/leaf", 2, top["id"])
    assert [d["id"] for d in admin.listDomainChildren(id=top["id"])] == [low["id"]]
    deep = admin.createDomain(name="deep", parentdomainid=low["id"])
    assert [d["id"] for d in admin.listDomainChildren(id=top["id"])] == [low["id"]]
    assert [d["id"] for d in admin.listDomainChildren(id=top["id"], isrecursive=True)] == [low["id"], deep["id"]]
    assert {d["name"] for d in admin.listDomains(level=2)} >= {"leaf"}


def test_renaming_moves_the_paths_below(cloud: Cloud) -> None:
    admin = cloud.admin
    top = cloud.domain("old%_")
    low = cloud.domain("kid", parent=top)
    other = cloud.domain("old%_2")
    assert admin.updateDomain(id=top, name="new")["path"] == "ROOT/new"
    assert admin.one("listDomains", id=low)["path"] == "ROOT/new/kid"
    assert admin.one("listDomains", id=other)["path"] == "ROOT/old%_2", "a sibling whose name begins alike stays"


def test_names(cloud: Cloud) -> None:
    admin = cloud.admin
    parent = cloud.domain()
    first = cloud.domain("same", parent=parent)
    with pytest.raises(ApiError, match="already a domain") as no:
        cloud.domain("same", parent=parent)
    assert no.value.code == 431
    assert cloud.domain("same", parent=first), "the same name elsewhere in the tree is fine"
    for bad in ("a/b", " ", "/"):
        with pytest.raises(ApiError, match="431"):
            admin.createDomain(name=bad)
    with pytest.raises(ApiError, match="DNS suffix"):
        admin.createDomain(name="x", networkdomain="not a suffix")


def test_a_chosen_id(cloud: Cloud) -> None:
    chosen = "12345678-1234-4234-8234-1234567890AB"
    assert cloud.admin.createDomain(name="chosen", domainid=chosen)["id"] == chosen.lower()
    with pytest.raises(ApiError, match="uuid"):
        cloud.admin.createDomain(name="chosen2", domainid="mine")
    with pytest.raises(ApiError, match="431"):
        cloud.admin.createDomain(name="chosen3", domainid=chosen)


def test_a_domain_goes_only_when_it_is_empty(cloud: Cloud) -> None:
    admin = cloud.admin
    top = cloud.domain()
    low = cloud.domain(parent=top)
    with pytest.raises(ApiError, match=r"still holds ROOT/.*say cleanup=true") as no:
        admin.deleteDomain(id=top)
    assert no.value.code == 536
    tenant = cloud.tenant(low)
    with pytest.raises(ApiError, match="still holds account"):
        admin.deleteDomain(id=low)
    admin.deleteAccount(id=tenant.account)
    admin.deleteDomain(id=low)
    admin.deleteDomain(id=top)
    with pytest.raises(ApiError, match="entity does not exist"):
        admin.listDomains(id=top)


def test_root_and_ones_own_domain_stay(cloud: Cloud) -> None:
    with pytest.raises(ApiError, match="531"):
        cloud.admin.deleteDomain(id=cloud.admin.domain)
    with pytest.raises(ApiError, match="531"):
        cloud.admin.updateDomain(id=cloud.admin.domain, name="other")
    chief = cloud.tenant(role="DomainAdmin")
    with pytest.raises(ApiError, match="531"):
        chief.deleteDomain(id=chief.domain)


def test_a_domain_admin_builds_below_her_own(cloud: Cloud) -> None:
    chief = cloud.tenant(role="DomainAdmin")
    low = chief.createDomain(name="mine")
    assert low["parentdomainid"] == chief.domain, "her own domain is the default"
    assert {d["id"] for d in chief.listDomains(listall=True)} == {chief.domain, low["id"]}
    chief.deleteDomain(id=low["id"])
