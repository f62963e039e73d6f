"""Project roles: what a regular member may call in a project, by ordered rules. Without a rule that matches: everything.

Each project has its own; its admins make them and are not bound by them.
"""

from __future__ import annotations

from typing import Annotated, Any

from mold.api.answer import Field, shown
from mold.api.command import Ctx, Param, command
from mold.api.lists import Query, lists
from mold.base.errors import Invalid, NotFound
from mold.features.identity.projects import OfProject, Project
from mold.features.identity.roles import reorder
from mold.features.identity.rules import Rules, pattern_of, permission_of
from mold.store import Resource, Tx, column, refers

Administered = Annotated[Project, Param(access="operate", doc="id of the project; one must administer it")]


class ProjectRole(Resource):
    """A role in one project."""

    kind = "projectrole"
    title = "project role"
    unique = (("project_id", "name"),)
    appears = {"projectroleid": "id"}
    policy = OfProject()

    project_id: str = refers("project", cascade=True, filter=False, shows={"projectid": "id"})
    name: str = column(filter=True, keyword=True)
    description: str | None = column(default=None)


class ProjectRolePermission(Resource):
    """One rule of a project role; the lowest position is asked first."""

    kind = "projectrolepermission"
    title = "project role permission"
    indexes = (("project_role_id", "position"),)
    policy = OfProject()

    project_id: str = refers("project", cascade=True, filter=False, shows={"projectid": "id"})
    project_role_id: str = refers(
        "projectrole", cascade=True, filter=False, shows={"projectroleid": "id", "projectrolename": "name"}
    )
    rule: str = column()
    permission: str = column()
    description: str | None = column(default=None)
    position: int = column(hidden=True)


def _lines(tx: Tx, role_id: str) -> list[ProjectRolePermission]:
    c = ProjectRolePermission.c
    return tx.find(ProjectRolePermission, c.project_role_id == role_id, order=c.position)


def rules(tx: Tx, role_id: str) -> Rules:
    """The rules of a project role; remembered for a moment."""
    return tx.remembered(
        ("project rules", role_id),
        (ProjectRolePermission,),
        lambda: Rules((p.rule, p.permission == "allow") for p in _lines(tx, role_id)),
    )


def within(project: Project, thing: Any) -> Any:
    """The role or rule, if it is this project's; NotFound otherwise."""
    if thing.project_id != project.id:
        raise NotFound(f"The project {project.name} has no {thing.title} {thing.id}.", id=thing.id)
    return thing


@shown(ProjectRole, Field("ispublic", "boolean"))
def _public(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {r.id: {"ispublic": True} for r in rows}


@lists("listProjectRoles", ProjectRole, id_param=False)
def _roles(q: Query, projectid: Project, projectroleid: ProjectRole | None = None) -> None:
    """Lists the roles of a project.

    projectroleid: this one
    """
    q.where(ProjectRole.c.project_id == projectid.id)
    if projectroleid is not None:
        q.where(ProjectRole.c.id == projectroleid.id)


@lists("listProjectRolePermissions", ProjectRolePermission, id_param=False)
def _permissions(q: Query, projectid: Project, projectroleid: ProjectRole | None = None) -> None:
    """Lists the rules of a project's roles, or of one, in their order.

    projectroleid: the role
    """
    c = ProjectRolePermission.c
    q.where(c.project_id == projectid.id)
    if projectroleid is not None:
        q.where(c.project_role_id == projectroleid.id)
    q.order = [c.project_role_id, c.position, c.number]


@command("createProjectRole", answers=ProjectRole, event="PROJECT.ROLE.CREATE")
def create(ctx: Ctx, projectid: Administered, name: str, description: str | None = None) -> ProjectRole:
    """Creates a role in a project; without rules it allows everything.

    description: a description for people
    """
    if not name.strip():
        raise Invalid("A role's name must not be empty.", parameter="name")
    return ctx.tx.add(ProjectRole(project_id=projectid.id, name=name.strip(), description=description or None))


@command("updateProjectRole", answers=ProjectRole, event="PROJECT.ROLE.UPDATE")
def update(
    ctx: Ctx, projectid: Administered, id: ProjectRole, name: str | None = None, description: str | None = None
) -> ProjectRole:
    """Changes the name or the description of a project role.

    description: a description for people
    """
    within(projectid, id)
    if name is not None:
        if not name.strip():
            raise Invalid("A role's name must not be empty.", parameter="name")
        ctx.tx.set(id, name=name.strip())
    if description is not None:
        ctx.tx.set(id, description=description or None)
    return id


@command("deleteProjectRole", event="PROJECT.ROLE.DELETE")
def delete(ctx: Ctx, projectid: Administered, id: ProjectRole) -> None:
    """Deletes a project role that no member has."""
    ctx.tx.remove(within(projectid, id))


@command("createProjectRolePermission", answers=ProjectRolePermission, event="PROJECT.ROLE.PERMISSION.CREATE")
def create_permission(
    ctx: Ctx,
    projectid: Administered,
    projectroleid: Annotated[ProjectRole, Param(access="operate")],
    rule: str,
    permission: str,
    description: str | None = None,
) -> ProjectRolePermission:
    """Adds a rule at the end of a project role's rules.

    projectroleid: the role
    rule: name of a command, * for any run of letters and digits
    permission: allow or deny
    description: a description for people
    """
    role = within(projectid, projectroleid)
    last = _lines(ctx.tx, role.id)
    return ctx.tx.add(
        ProjectRolePermission(
            project_id=projectid.id,
            project_role_id=role.id,
            rule=pattern_of(rule),
            permission=permission_of(permission),
            description=description or None,
            position=last[-1].position + 1 if last else 0,
        )
    )


@command("updateProjectRolePermission", event="PROJECT.ROLE.PERMISSION.UPDATE")
def update_permission(
    ctx: Ctx,
    projectid: Administered,
    projectroleid: Annotated[ProjectRole, Param(access="operate")],
    projectrolepermissionid: Annotated[ProjectRolePermission | None, Param(access="operate")] = None,
    ruleorder: Annotated[list[ProjectRolePermission] | None, Param(access="operate")] = None,
    permission: str | None = None,
) -> None:
    """Changes a rule's permission, or the order of a project role's rules.

    projectroleid: the role
    projectrolepermissionid: the rule that gets another permission
    ruleorder: ids of all rules of the role in their new order, comma separated
    permission: allow or deny; needs projectrolepermissionid
    """
    role, one = within(projectid, projectroleid), projectrolepermissionid
    if (ruleorder is None) == (one is None) or (permission is None) != (one is None):
        raise Invalid(
            "Give either projectrolepermissionid with a permission, or ruleorder alone.", parameter="ruleorder"
        )
    if one is not None and permission is not None:
        if one.project_role_id != role.id:
            raise NotFound(f"The role {role.name} has no rule {one.id}.", id=one.id)
        ctx.tx.set(one, permission=permission_of(permission))
    if ruleorder is not None:
        reorder(ctx.tx, _lines(ctx.tx, role.id), ruleorder)


@command("deleteProjectRolePermission", event="PROJECT.ROLE.PERMISSION.DELETE")
def delete_permission(ctx: Ctx, projectid: Administered, id: ProjectRolePermission) -> None:
    """Deletes a rule of a project role."""
    ctx.tx.remove(within(projectid, id))
